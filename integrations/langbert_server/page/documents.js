// The documents with their state; upload, delete, read again.

import { call, getJson, upload } from "./api.js";
import { $, el, notice } from "./dom.js";
import { link } from "./source.js";
import { t } from "./strings.js";

let after = "";
let mayWrite = false;
let timer = 0;

export async function open() {
  const { rights, upload: taken } = await getJson("/api/stores");
  mayWrite = rights.includes("write");
  $("drop").hidden = !mayWrite;
  $("files").accept = taken.suffixes.join(",");
  await list();
}

async function list(more = false) {
  clearTimeout(timer);
  const query = new URLSearchParams({ contains: $("contains").value, after: more ? after : "" });
  const found = await getJson(`/api/documents?${query}`);
  const rows = found.documents.map(row);
  if (more) $("rows").append(...rows);
  else $("rows").replaceChildren(...(rows.length ? rows : [el("tr", {}, el("td", { colspan: 4 }, t("noDocuments")))]));
  after = found.next ?? "";
  $("more").hidden = !found.next;
  if (found.documents.some((each) => each.state === "queued") && !$("documents").hidden) {
    timer = setTimeout(() => list().catch(told), 700);
  }
}

function row(each) {
  const name = each.source || each.id;
  const first = [{ document_id: each.id, start: 0, end: 0 }];
  const readable = each.state === "indexed";
  return el("tr", { "data-id": each.id },
    el("td", {}, readable ? link(first, 0, {}, name) : name),
    el("td", { class: each.state }, t(each.state), each.reason ? el("div", { class: "note" }, each.reason) : null),
    el("td", {}, String(each.chunks)),
    el("td", { class: "actions" },
      mayWrite && each.uploaded
        ? el("button", { type: "button", class: "quiet", onclick: () => change(`${each.id}/index`, "POST") }, t("again")) : null,
      mayWrite
        ? el("button", { type: "button", class: "quiet", onclick: () => confirm(`${t("reallyRemove")}\n${name}`) && change(each.id, "DELETE") }, t("remove"))
        : null));
}

async function change(id, method) {
  const [document, action] = id.split("/");
  try {
    await call(`/api/documents/${encodeURIComponent(document)}${action ? `/${action}` : ""}`, { method });
    await list();
  } catch (error) {
    told(error);
  }
}

async function send(files) {
  for (const file of files) {
    const bar = el("progress", { max: 1, value: 0, "aria-label": file.name });
    const line = el("li", {}, `${file.name} `, bar);
    $("sending").append(line);
    try {
      await upload(file, (part) => { bar.value = part; });
      line.replaceChildren(`${file.name}: ${t("sent")}`);
      setTimeout(() => line.remove(), 4000);
    } catch (error) {
      line.replaceChildren(`${file.name}: ${error.message}`);
      line.classList.add("skipped");
    }
    await list().catch(told);
  }
}

const told = (error) => notice(error.message);

export function prepare() {
  const drop = $("drop");
  $("files").addEventListener("change", () => { send([...$("files").files]); $("files").value = ""; });
  $("more").addEventListener("click", () => list(true).catch(told));
  $("contains").addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => list().catch(told), 250);
  });
  for (const kind of ["dragover", "dragleave", "drop"]) {
    drop.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", kind === "dragover");
      if (kind === "drop") send([...event.dataTransfer.files]);
    });
  }
}

// A source, opened at the exact words: the drawn page of a PDF with boxes over them, else the text with a mark.

import { call, getJson } from "./api.js";
import { $, el, stretch } from "./dom.js";
import { place, t } from "./strings.js";

const ELSEWHERE = 5; // other places that are named
const AROUND = 20000; // characters of the text that are shown before and after the words

let places = []; // what "next" and "previous" walk through
let at = 0;
let asText = false;
let turn = 0; // only what was asked for last is shown
let pictures = []; // addresses of drawn pages, to be let go

/** The address that opens these words. */
export const address = (p) => `#/source/${encodeURIComponent(p.document_id)}/${p.start}-${p.end}`;

/** A link that opens one of `list`, through which the reader can then walk. */
export function link(list, index, attributes, ...children) {
  const open = (event) => {
    event.preventDefault();
    show(list, index);
  };
  return el("a", { href: address(list[index]), onclick: open, ...attributes }, ...children);
}

/** Where the same is said: copies of the document, a notice that many repeat. */
export function elsewhere(hit) {
  const list = hit.places ?? [];
  if (!list.length) return null;
  const links = list.slice(0, ELSEWHERE).flatMap((each, i) => [
    i ? ", " : " ", link(list, i, {}, place(each.source || each.document_id, each.page, each.start, each.end)),
  ]);
  const more = list.length > ELSEWHERE ? ` + ${list.length - ELSEWHERE}` : "";
  return el("div", { class: "elsewhere" }, t("alsoIn"), ...links, more);
}

export function show(list, index) {
  places = list;
  at = index;
  asText = false;
  if (!$("source").open) $("source").showModal();
  draw();
}

/** `#/source/ID/10-20` */
export function showAddress(hash) {
  const found = /^#\/source\/([^/]+)\/(\d+)-(\d+)$/.exec(hash);
  if (found) show([{ document_id: decodeURIComponent(found[1]), start: Number(found[2]), end: Number(found[3]) }], 0);
  return Boolean(found);
}

async function draw() {
  const mine = ++turn;
  const { document_id: id, start, end } = places[at];
  const body = $("source-body");
  $("previous").disabled = at === 0;
  $("next").disabled = at === places.length - 1;
  body.setAttribute("aria-busy", "true");
  try {
    const path = `/api/documents/${encodeURIComponent(id)}`;
    const from = Math.max(0, start - AROUND);
    const text = await getJson(`${path}?start=${from}&end=${end + AROUND}`);
    if (mine !== turn) return;
    $("source-title").textContent = place(text.source || id, null, start, end);
    const sheets = text.drawable && !asText ? await pages(path, start, end) : null;
    if (mine !== turn) return;
    for (const picture of pictures.splice(0)) if (!sheets?.pictures.includes(picture)) URL.revokeObjectURL(picture);
    if (sheets) {
      pictures = sheets.pictures;
      $("source-title").textContent = place(text.source || id, sheets.first, start, end);
    }
    $("as-text").hidden = !text.drawable;
    $("as-text").textContent = t(sheets ? "asText" : "asPages");
    body.replaceChildren(...(sheets ? sheets.elements : [marked(text, start, end)]));
    const target = body.querySelector(".box, mark");
    target?.scrollIntoView({ block: "center", behavior: "instant" });
  } catch (error) {
    if (mine === turn) body.replaceChildren(el("p", { class: "note" }, error.message));
  } finally {
    if (mine === turn) body.removeAttribute("aria-busy");
  }
}

/** The drawn pages that hold the words; null where they cannot be drawn or the words are not found on them. */
async function pages(path, start, end) {
  let found;
  try {
    found = (await getJson(`${path}/boxes?start=${start}&end=${end}`)).pages;
  } catch {
    return null;
  }
  if (!found.some((page) => page.boxes.length)) return null;
  const made = [];
  const addresses = [];
  for (const page of found) {
    const blob = await (await call(`${path}/pages/${page.page}?width=1400`)).blob();
    addresses.push(URL.createObjectURL(blob));
    const picture = el("img", { src: addresses.at(-1), alt: `${t("page")} ${page.page}` });
    await picture.decode();
    const sheet = el("figure", { class: "sheet" }, picture);
    for (const box of page.boxes) {
      const over = el("div", { class: "box", "aria-label": t("opened"), role: "img" });
      for (const side of ["left", "top", "width", "height"]) over.style[side] = `${100 * box[side]}%`;
      sheet.append(over);
    }
    made.push(sheet);
  }
  return { elements: made, pictures: addresses, first: found[0].page };
}

/** The text with its headings and the mark. */
function marked(text, start, end) {
  const pre = el("pre");
  const cuts = text.headings.map((heading) => heading.start).filter((cut) => cut < start || cut >= end);
  const lines = (from, to, list) => {
    let done = from;
    for (const cut of list.filter((each) => each >= from && each < to)) {
      const rest = stretch(text.text, cut - text.start, to - text.start);
      const length = Array.from(rest.split("\n", 1)[0]).length;
      pre.append(stretch(text.text, done - text.start, cut - text.start));
      pre.append(el("span", { class: "heading" }, stretch(text.text, cut - text.start, cut + length - text.start)));
      done = cut + length;
    }
    pre.append(stretch(text.text, done - text.start, to - text.start));
  };
  lines(text.start, Math.min(start, text.end), cuts);
  if (start < text.end) {
    pre.append(el("mark", {}, stretch(text.text, start - text.start, end - text.start)));
    lines(Math.min(end, text.end), text.end, cuts);
  }
  return pre;
}

function walk(step) {
  if (at + step >= 0 && at + step < places.length) {
    at += step;
    draw();
  }
}

export function prepare() {
  $("previous").addEventListener("click", () => walk(-1));
  $("next").addEventListener("click", () => walk(1));
  $("close").addEventListener("click", () => $("source").close());
  $("as-text").addEventListener("click", () => { asText = !asText; draw(); });
  $("source").addEventListener("close", () => {
    if (location.hash.startsWith("#/source/")) location.hash = "#/ask";
  });
  $("source").addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") walk(-1);
    if (event.key === "ArrowRight") walk(1);
  });
  $("source").addEventListener("click", (event) => event.target === $("source") && $("source").close());
}

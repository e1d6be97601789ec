// The page: which section is shown, in which language and colours.

import { getJson } from "./api.js";
import * as ask from "./ask.js";
import * as documents from "./documents.js";
import { $, el, notice } from "./dom.js";
import * as search from "./search.js";
import * as source from "./source.js";
import { switchLanguage, t, translate } from "./strings.js";

const SECTIONS = ["ask", "search", "documents", "about"];

async function route() {
  if (source.showAddress(location.hash)) {
    if (SECTIONS.every((name) => $(name).hidden)) section("ask");
    return;
  }
  const name = location.hash.slice(2);
  notice("");
  section(SECTIONS.includes(name) ? name : "ask");
  try {
    if (name === "documents") await documents.open();
    if (name === "about") await about();
  } catch (error) {
    notice(error.message);
  }
}

function section(name) {
  for (const each of SECTIONS) {
    $(each).hidden = each !== name;
    const tab = document.querySelector(`nav a[href="#/${each}"]`);
    if (each === name) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
  }
  $({ ask: "question", search: "words" }[name] ?? "main").focus({ preventScroll: true });
}

async function about() {
  const { stores: [store], who, rights } = await getJson("/api/stores");
  const { data } = await getJson("/v1/models");
  const facts = [
    [t("store"), store.name], [t("documents"), store.documents], [t("chunks"), store.chunks],
    [t("embedder"), store.embedder ?? "–"], [t("dimension"), store.dimension ?? "–"], [t("pooling"), store.pooling ?? "–"],
    [t("bytes"), store.bytes?.toLocaleString()], [t("models"), data.map((model) => model.id).join(", ")],
    [t("key"), who], [t("rights"), rights.join(", ")],
  ];
  $("facts").replaceChildren(...facts.filter(([, value]) => value !== undefined)
    .flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, String(value))]));
}

function theme(chosen) {
  if (chosen) document.documentElement.dataset.theme = chosen;
}

function switchTheme() {
  const now = document.documentElement.dataset.theme
    ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  const other = now === "dark" ? "light" : "dark";
  localStorage.setItem("theme", other);
  theme(other);
}

theme(localStorage.getItem("theme"));
translate();
for (const part of [ask, search, documents, source]) part.prepare();
$("language").addEventListener("click", () => { switchLanguage(); route(); });
$("theme").addEventListener("click", switchTheme);
window.addEventListener("hashchange", route);
route();

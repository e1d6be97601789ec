// Passages, with filters.

import { post } from "./api.js";
import { $, el, notice } from "./dom.js";
import { elsewhere, link } from "./source.js";
import { place, t } from "./strings.js";

export function prepare() {
  $("search-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    notice("");
    const where = {};
    if ($("format").value.trim()) where.format = $("format").value.trim();
    if ($("source-is").value.trim()) where.source = $("source-is").value.trim();
    const body = { question: $("words").value, k: 20, mode: $("how").value || null };
    if (Object.keys(where).length) body.where = where;
    try {
      const { hits } = await (await post("/api/search", body)).json();
      $("hits").replaceChildren(...(hits.length ? hits.map((hit, i) => item(hits, i)) : [el("li", {}, t("nothing"))]));
    } catch (error) {
      notice(error.message);
    }
  });
}

function item(hits, index) {
  const hit = hits[index];
  return el("li", { class: "hit" }, link(hits, index, {},
    el("span", { class: "place" }, place(hit.source || hit.document_id, hit.page, hit.start, hit.end)),
    el("span", { class: "score" }, `  ${t("score")} ${hit.score.toFixed(2)}`),
    hit.headings.length ? el("div", { class: "headings" }, hit.headings.join(" › ")) : null,
    el("p", { class: "passage" }, hit.text)), elsewhere(hit));
}

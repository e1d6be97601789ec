// A conversation: questions, answers that come in pieces, and the words they rest on.

import { events, post } from "./api.js";
import { $, el } from "./dom.js";
import { elsewhere, link } from "./source.js";
import { place, t } from "./strings.js";

let history = [];
let running = null; // stops what is being answered

export function prepare() {
  $("ask-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const question = $("question").value.trim();
    if (question && !running) ask(question);
  });
  $("question").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      $("ask-form").requestSubmit();
    }
  });
  $("stop").addEventListener("click", () => running?.abort());
  $("forget").addEventListener("click", () => {
    running?.abort();
    history = [];
    $("turns").replaceChildren();
    $("question").focus();
  });
}

async function ask(question) {
  const text = el("p", {}, t("thinking"));
  const box = el("div", { class: "answer", "aria-busy": "true" }, text);
  $("turns").append(el("article", { class: "turn" }, el("p", { class: "asked" }, question), box));
  box.scrollIntoView({ block: "nearest" });
  $("question").value = "";
  running = new AbortController();
  $("stop").hidden = false;
  let begun = false;
  try {
    const body = { question, mode: $("mode").value, history: history.slice(-20), unsupported: "mark", stream: true };
    for await (const { event, data } of events(await post("/api/ask", body, running.signal))) {
      if (event === "piece") {
        text.textContent = (begun ? text.textContent : "") + data.text;
        begun = true;
      } else if (event === "error") {
        throw new Error(data.error.message);
      } else {
        box.replaceChildren(...shown(data));
        box.classList.toggle("refused", data.refused);
        history.push({ role: "user", content: question }, { role: "assistant", content: data.answer });
      }
    }
  } catch (error) {
    box.classList.add("failed");
    box.append(el("p", { class: "note" }, error.name === "AbortError" ? t("stopped") : error.message));
    if (!begun) text.remove();
  } finally {
    running = null;
    $("stop").hidden = true;
    box.removeAttribute("aria-busy");
    box.scrollIntoView({ block: "nearest" });
  }
}

/** The answer with its marks as links, the quotes, or the nearest passages, and the details. */
function shown(answer) {
  const parts = [el("p", {}, ...linked(answer))];
  if (answer.missing?.length) parts.push(el("p", { class: "note" }, t("missing"), answer.missing.join(", ")));
  if (answer.refused && answer.nearest.length) parts.push(el("p", { class: "note" }, t("nearest")));
  const list = answer.refused ? answer.nearest : answer.citations;
  if (list.length) {
    parts.push(el("ol", { class: "quotes" }, ...list.map((each, i) => el("li", {}, link(list, i, {},
      el("span", { class: "place" }, `${answer.refused ? "" : `[${i + 1}] `}${place(each.source || each.document_id, each.page, each.start, each.end)}`),
      el("br"), el("q", {}, ...marked(short(each.quote ?? each.text), answer.short))), elsewhere(each)))));
  }
  const times = Object.entries(answer.timings).map(([stage, seconds]) => `${stage} ${seconds.toFixed(2)}`).join(", ");
  const facts = [
    [t("confidence"), answer.confidence.toFixed(2)],
    [t("answeredBy"), answer.answered_by ? t(answer.answered_by) : "–"],
    [t("seconds"), times],
    answer.standalone_question && answer.standalone_question !== answer.question
      ? [t("searched"), answer.standalone_question] : null,
  ].filter(Boolean);
  parts.push(el("details", {}, el("summary", {}, t("details")),
    el("dl", {}, ...facts.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]))));
  return parts;
}

/** The words that answer, marked within a quote. */
function marked(quote, words) {
  const at = words ? quote.indexOf(words) : -1;
  return at < 0 ? [quote] : [quote.slice(0, at), el("mark", {}, words), quote.slice(at + words.length)];
}

/** `[n]` as links, what no source supports underlined. */
function linked(answer) {
  const wrong = answer.unsupported.filter((sentence) => sentence && answer.answer.includes(sentence));
  const escaped = wrong.map((sentence) => sentence.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  const pattern = new RegExp(`(${[...escaped, "\\[\\d+\\]", "\\[\\?\\]"].join("|")})`);
  return answer.answer.split(pattern).map((part) => {
    const number = Number(/^\[(\d+)\]$/.exec(part)?.[1]);
    if (number && answer.citations[number - 1]) return link(answer.citations, number - 1, { class: "cite" }, part);
    if (part === "[?]" || wrong.includes(part)) {
      return el("span", { class: "unsupported", title: t("unsupported") }, part);
    }
    return part;
  });
}

const short = (text) => (text.length > 400 ? `${text.slice(0, 400)} …` : text);

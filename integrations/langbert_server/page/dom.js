// Elements made of texts: whatever documents and models wrote becomes text nodes, never markup.

export const $ = (id) => document.getElementById(id);

/** An element with attributes, `on…` listeners and children (texts or elements). */
export function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Characters `start` to `end`, counted as the server does: by code point, not by UTF-16 unit. */
export function stretch(text, start, end) {
  return Array.from(text).slice(start, end).join("");
}

export function notice(message) {
  $("notice").textContent = message;
}

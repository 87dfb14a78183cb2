// Nodes from words. Every text is put into the page as text: nothing here, or anywhere in the page, reads markup.

export const find = (id) => document.getElementById(id);

export function make(tag, given = {}, ...inside) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "text") node.textContent = value;
    else if (name === "name") node.className = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...inside.filter((one) => one !== null && one !== undefined));
  return node;
}

export const button = (text, press, given = {}) => make("button", { type: "button", onclick: press, text, ...given });

const SVG = "http://www.w3.org/2000/svg";
const THUMB_DOWN = "M17 3h4v11h-4zM17 13l-4 8c-1.7 0-2.5-1-2.3-2.6L11.3 15H5.5a2 2 0 0 1-2-2.4l1.5-7A3 3 0 0 1 8 3h9";

// Drawn, since not every machine has the letter for it.
export function thumbDown() {
  const image = document.createElementNS(SVG, "svg"), path = document.createElementNS(SVG, "path");
  image.setAttribute("viewBox", "0 0 24 24");
  image.setAttribute("aria-hidden", "true");
  path.setAttribute("d", THUMB_DOWN);
  image.append(path);
  return image;
}

export const unseen = (text) => make("span", { name: "unseen", text });

let made = 0;
export const newId = (of) => `${of}-${++made}`;

// The server counts characters, JavaScript counts UTF-16 units: spans are cut out of this.
export const characters = (text) => Array.from(text);

export const figure = (value) => (typeof value === "number" ? value.toFixed(2) : "–");

export const many = (count, one, more = `${one}s`) => `${count} ${count === 1 ? one : more}`;

export function announce(text) {
  const place = find("announced");
  place.textContent = "";
  // Said anew even where the words are the same as before.
  requestAnimationFrame(() => { place.textContent = text; });
}

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch (error) {
    // Without HTTPS there is no clipboard but this one.
    const held = make("textarea", { name: "unseen", "aria-hidden": "true", tabindex: "-1" });
    const before = document.activeElement;
    held.value = text;
    document.body.append(held);
    held.select();
    const done = document.execCommand("copy");
    held.remove();
    if (before) before.focus();
    return done;
  }
}

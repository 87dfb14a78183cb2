// A reply with its numbered sources: sentences that a document bears out show their quote, sentences that none does are underlined.

import { characters, figure, make, many, newId, unseen } from "./making.js";

const AROUND = 240; // characters of a passage on either side of its quote, where it is shown in passing
const LONGEST = 120; // characters of a quote that stands for its passage
const LEAVE = 200; // milliseconds to get from a sentence to its quote with the pointer

// What the reply cites, each once, numbered from 1 in the order of the claims; and the spans that cite or lack sources.
export function spansOf(record, choice = 0) {
  const sources = [], numbers = new Map(), spans = new Map();
  const at = (start, end) => {
    const place = `${start}-${end}`;
    if (!spans.has(place)) spans.set(place, { start, end, numbers: [], lacking: null });
    return spans.get(place);
  };
  const own = (rows) => (rows || []).filter((row) => row.choice === choice);
  for (const row of own(record.sources).sort((a, b) => a.claim.start - b.claim.start)) {
    const same = JSON.stringify([row.passage, row.quote.start, row.quote.end, row.tool]);
    if (!numbers.has(same)) numbers.set(same, sources.push(row));
    const span = at(row.claim.start, row.claim.end);
    if (!span.numbers.includes(numbers.get(same))) span.numbers.push(numbers.get(same));
  }
  for (const row of own(record.ungrounded)) at(row.start, row.end).lacking = row;
  return { sources, spans: [...spans.values()].sort((a, b) => a.start - b.start || a.end - b.end) };
}

// The passage around its quote, the quote marked; of all of it, or of as much as is shown in passing.
export function passage(source, whole) {
  const quote = source.quote, given = source.excerpt;
  const place = make("blockquote");
  const letters = given ? characters(given.text) : [];
  const from = given ? quote.start - given.start : -1, to = given ? quote.end - given.start : -1;
  if (from < 0 || letters.slice(from, to).join("") !== quote.text) {
    place.append(make("mark", { text: quote.text }));
    return place;
  }
  const first = whole ? 0 : Math.max(0, from - AROUND), last = whole ? letters.length : Math.min(letters.length, to + AROUND);
  place.append(
    (first > 0 ? "… " : "") + letters.slice(first, from).join(""),
    make("mark", { text: quote.text }),
    letters.slice(to, last).join("") + (last < letters.length ? " …" : ""),
  );
  return place;
}

const titleOf = (source) => source.title || (source.tool !== "retrieval" ? source.tool : source.document);
const headingOf = (source) => (source.heading ? ` › ${source.heading}` : "");

const shortened = (text) => (characters(text).length > LONGEST ? `“${characters(text).slice(0, LONGEST).join("")}…”` : `“${text}”`);

function linkTo(source) {
  let url = null;
  try { url = new URL(source.url); } catch (error) { /* no address */ }
  if (!url || !["http:", "https:"].includes(url.protocol)) return make("bdi", { text: titleOf(source) });
  return make("a", { href: url.href, target: "_blank", rel: "noopener noreferrer" }, make("bdi", { text: titleOf(source) }));
}

function listed(sources) {
  const list = make("ol", { name: "sources" });
  for (const source of sources) {
    const more = make("details", {}, make("summary", {}, unseen("Passage with: "), shortened(source.quote.text)), passage(source, true));
    const where = source.tool !== "retrieval" ? source.tool : source.source;
    const said = [headingOf(source).slice(3), where, `support ${figure(source.support)}`].filter(Boolean).join(" · ");
    list.append(make("li", {}, linkTo(source), make("span", { name: "help", text: said }), more));
  }
  return make("section", { "aria-label": "Sources" }, list);
}

function counted(record) {
  const found = record.groundedness;
  if (!found) return "Not checked against the documents.";
  if (!found.claims) return "It claims nothing that could be checked.";
  const denied = found.contradicted ? `; ${found.contradicted} contradicted by a document` : "";
  return `${found.supported} of ${many(found.claims, "claim")} with a source${denied}.`;
}

class Cards {
  // One quote is shown at a time, below its sentence. It stays while the pointer is on it, and Escape puts it away (WCAG 1.4.13).
  constructor(place) {
    this.place = place;
    this.shown = null;
    this.timer = 0;
    place.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !this.shown) return;
      event.stopPropagation();
      this.hide();
    });
  }

  add(sentence, card) {
    sentence.addEventListener("mouseenter", () => this.show(sentence, card));
    sentence.addEventListener("focus", () => this.show(sentence, card));
    sentence.addEventListener("click", () => this.show(sentence, card));
    sentence.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      if (card.hidden) this.show(sentence, card); else this.hide();
    });
    sentence.addEventListener("blur", () => this.hide());
    for (const node of [sentence, card]) {
      node.addEventListener("mouseleave", () => { this.timer = setTimeout(() => this.leave(sentence), LEAVE); });
      node.addEventListener("mouseenter", () => clearTimeout(this.timer));
    }
  }

  leave(sentence) { if (document.activeElement !== sentence) this.hide(); }

  show(sentence, card) {
    clearTimeout(this.timer);
    if (this.shown && this.shown.card !== card) this.hide();
    this.shown = { sentence, card };
    card.hidden = false;
    sentence.setAttribute("aria-expanded", "true");
    const lines = sentence.getClientRects(), home = this.place.getBoundingClientRect();
    const below = lines[lines.length - 1].bottom + 6, above = lines[0].top - card.offsetHeight - 6;
    const head = document.querySelector("header").getBoundingClientRect().bottom, foot = document.getElementById("ask").getBoundingClientRect().top;
    card.style.top = `${(below + card.offsetHeight > foot && above > head ? above : below) - home.top}px`;
  }

  hide() {
    if (!this.shown) return;
    this.shown.card.hidden = true;
    this.shown.sentence.setAttribute("aria-expanded", "false");
    this.shown = null;
  }
}

// Puts the text, its sources and, where `counts`, what they come to into the place.
export function showReply(place, text, record, counts) {
  const { sources, spans } = spansOf(record), letters = characters(text);
  const words = make("p", { name: "text", dir: "auto" }), cards = new Cards(place);
  const shown = [];
  let at = 0;
  for (const span of spans) {
    const start = Math.max(span.start, at), end = Math.min(span.end, letters.length);
    if (end <= start) continue;
    words.append(letters.slice(at, start).join(""));
    const said = letters.slice(start, end).join("");
    if (span.numbers.length) {
      const card = make("div", { name: "card", id: newId("quote"), hidden: true });
      for (const number of span.numbers) {
        const source = sources[number - 1];
        card.append(make("p", { name: "card-title" }, `${number} `, make("bdi", { text: titleOf(source) + headingOf(source) })));
        card.append(passage(source, false));
      }
      const sentence = make("span", {
        name: "claim", role: "button", tabindex: "0", "aria-expanded": "false", "aria-describedby": card.id, "aria-controls": card.id,
      }, said, make("sup", {}, unseen(" Source "), span.numbers.join(", ")));
      cards.add(sentence, card);
      shown.push(card);
      words.append(sentence);
    } else {
      const denied = span.lacking && span.lacking.contradicted;
      const why = denied ? "A document says otherwise." : "No document was found that bears this out.";
      words.append(make("span", { name: denied ? "unsupported denied" : "unsupported", title: why }, said, unseen(` (${why})`)));
    }
    at = end;
  }
  words.append(letters.slice(at).join(""));
  place.append(words, ...shown);
  if (sources.length) place.append(listed(sources));
  if (counts) place.append(make("p", { name: "help counted", text: counted(record) }));
}

// As it is pasted elsewhere: the text, then its sources by number.
export function copied(text, record) {
  const { sources } = spansOf(record || {});
  const lines = sources.map((source, n) => `[${n + 1}] ${titleOf(source)}: “${source.quote.text}” ${source.url}`);
  return lines.length ? `${text}\n\n${lines.join("\n")}` : text;
}

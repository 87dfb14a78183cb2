"use strict";
// Every text of the file is put into the page as text, through textContent alone.

const KEYS = "123456789abcdef";
const state = { sheet: null, at: 0, question: null, chosen: new Set(), choosing: false, busy: false };
const find = (id) => document.getElementById(id);

function make(tag, text, name) {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (name) node.className = name;
  return node;
}

function say(text) { find("notice").textContent = text; }

async function send(path, body) {
  if (state.busy) return null;
  state.busy = true;
  try {
    const options = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body || {}) };
    const answer = await fetch(path, options);
    const found = await answer.json();
    if (answer.ok) { say(""); return found; }
    say(typeof found.detail === "string" ? found.detail : "The answer was not kept.");
  } catch (error) {
    say("Not kept: winnow label is not running any more. Start it again; nothing that was kept is lost.");
  } finally {
    state.busy = false;
  }
  return null;
}

const item = () => state.sheet.items[state.at];
const answersOf = (id) => state.sheet.answers[id] || {};

// Which questions an item gets, as in labels.py: specific only if sensible, interesting only if specific, a source where there is one.
function questionsOf(one) {
  const said = answersOf(one.id);
  return state.sheet.asked.filter((name) => {
    if (name === "supported") return one.quote !== null;
    if (name === "specific") return said.sensible === true;
    if (name === "interesting") return said.sensible === true && said.specific === true;
    return true;
  });
}

const openOf = (one) => questionsOf(one).find((name) => !(name in answersOf(one.id)));

function go(at, question) {
  state.at = Math.max(0, Math.min(state.sheet.items.length - 1, at));
  const questions = questionsOf(item());
  state.question = question || openOf(item()) || questions[0] || null;
  const said = answersOf(item().id).safety;
  state.chosen = new Set(state.question === "safety" && said ? said : []);
  state.choosing = state.chosen.size > 0;
  draw();
  window.scrollTo(0, 0);
  find("item").scrollTop = 0;
}

function nextOpen() {
  const count = state.sheet.items.length;
  for (let step = 0; step < count; step++) {
    const at = (state.at + step) % count;
    if (openOf(state.sheet.items[at])) return go(at);
  }
  go(state.at);
  say("Everything is answered. You can close this page.");
}

async function keep(answer) {
  const one = item();
  const found = await send("/answers", { item: one.id, question: state.question, answer });
  if (!found) return;
  state.sheet.answers[one.id] = found.answers;
  if (openOf(one)) go(state.at); else nextOpen();
}

async function undo() {
  const found = await send("/undo");
  if (!found) return;
  state.sheet.answers[found.item] = found.answers;
  go(state.sheet.items.findIndex((one) => one.id === found.item), found.question);
}

function mark(name) {
  state.choosing = true;
  if (state.chosen.has(name)) state.chosen.delete(name); else state.chosen.add(name);
  const at = state.sheet.objectives.findIndex((one) => one.name === name);
  draw();
  document.querySelectorAll(".rules button")[at].focus();
}

function keepChosen() {
  if (state.chosen.size) keep([...state.chosen]);
  else say("Mark at least one rule that is broken, or press n if none is.");
}

function yes() {
  if (state.question !== "safety") return keep(true);
  if (state.choosing) return keepChosen();
  state.choosing = true;
  draw();
  document.querySelector(".rules button").focus();
}

function drawItem() {
  const one = item(), place = find("item");
  place.replaceChildren();
  for (const turn of one.context) {
    const p = make("p", undefined, "turn");
    p.append(make("span", turn.role, "who"), document.createTextNode(turn.content));
    place.append(p);
  }
  const p = make("p", undefined, "turn judged");
  p.append(make("span", `${one.role}, to be judged`, "who"));
  const from = one.sentence === null ? -1 : one.reply.indexOf(one.sentence);
  if (from >= 0 && state.question === "supported") {
    const to = from + one.sentence.length;
    p.append(one.reply.slice(0, from), make("span", one.sentence, "sentence"), one.reply.slice(to));
  } else {
    p.append(one.reply);
  }
  place.append(p);
  if (one.quote !== null && state.question === "supported") {
    if (from < 0) place.append(make("p", one.sentence, "turn sentence"));
    const quote = make("blockquote");
    quote.append(make("span", "the source", "who"), document.createTextNode(one.quote));
    place.append(quote);
  }
}

function button(text, press, pressed) {
  const node = make("button", text);
  node.type = "button";
  if (pressed !== undefined) node.setAttribute("aria-pressed", String(pressed));
  node.addEventListener("click", press);
  return node;
}

function drawRules(place) {
  const list = make("ul", undefined, "rules");
  let group = null;
  state.sheet.objectives.forEach((one, number) => {
    if (one.group !== group) list.append(make("li", group = one.group, "group"));
    const node = button(undefined, () => mark(one.name), state.chosen.has(one.name));
    node.append(make("kbd", KEYS[number] || ""), make("span", one.title), make("span", one.definition, "definition"));
    const line = make("li");
    line.append(node);
    list.append(line);
  });
  place.append(list);
}

function drawQuestion() {
  const place = find("asked"), one = item(), said = answersOf(one.id);
  place.replaceChildren();
  if (state.question === null) {
    place.append(make("p", "Nothing is asked of this one.", "help"));
    return;
  }
  const question = state.sheet.questions[state.question], now = said[state.question];
  place.append(make("h2", question.text), make("p", question.help, "help"));
  if (state.question === "safety") {
    const clean = now !== undefined && now.length === 0;
    place.append(button("n  none is broken", () => keep([]), clean));
    place.append(button(state.choosing ? "enter  keep what is marked" : "y  one is broken", yes, state.choosing));
    drawRules(place);
  } else {
    place.append(button("y  yes", () => keep(true), now === true), button("n  no", () => keep(false), now === false));
  }
  const others = questionsOf(one).filter((name) => name in said);
  if (!others.length) return;
  const list = make("div", undefined, "answered");
  for (const name of others) {
    const value = Array.isArray(said[name]) ? said[name].join(", ") || "none broken" : said[name] ? "yes" : "no";
    list.append(button(`${name}: ${value}`, () => go(state.at, name)));
  }
  place.append(list);
}

function draw() {
  const all = state.sheet.items, done = all.filter((one) => !openOf(one)).length;
  find("where").textContent = `${state.sheet.rater}: ${item().id} (${state.at + 1} of ${all.length}), ${done} done`;
  find("progress").max = all.length;
  find("progress").value = done;
  drawItem();
  drawQuestion();
}

function move(step) {
  const buttons = [...document.querySelectorAll(".rules button")];
  if (!buttons.length) return;
  const at = buttons.indexOf(document.activeElement);
  buttons[(at < 0 ? (step > 0 ? 0 : buttons.length - 1) : at + step + buttons.length) % buttons.length].focus();
}

function press(event) {
  if (!state.sheet || state.busy || event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const onRule = document.activeElement && document.activeElement.closest(".rules");
  const objective = state.question === "safety" ? state.sheet.objectives[KEYS.indexOf(key)] : undefined;
  const acts = {
    ArrowLeft: () => go(state.at - 1),
    ArrowRight: () => go(state.at + 1),
    ArrowUp: () => move(-1),
    ArrowDown: () => move(1),
    ".": nextOpen,
    u: undo,
    y: () => state.question && yes(),
    n: () => state.question && keep(state.question === "safety" ? [] : false),
  };
  if (key === "Enter" && state.question === "safety" && state.choosing && (onRule || document.activeElement === document.body)) {
    acts.Enter = keepChosen;
  }
  const act = KEYS.includes(key) && objective ? () => mark(objective.name) : acts[key];
  if (!act || event.repeat && key !== "ArrowUp" && key !== "ArrowDown") return;
  event.preventDefault();
  act();
}

async function start() {
  try {
    state.sheet = await (await fetch("/items")).json();
  } catch (error) {
    say("winnow label is not running.");
    return;
  }
  document.addEventListener("keydown", press);
  go(0);
  nextOpen();
}

start();

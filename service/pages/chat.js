// The conversation: what is asked, what comes, and what can be done with it.

import { askWhatIsWrong, showPolicy } from "./dialogs.js";
import { drawer } from "./drawer.js";
import { announce, button, copy, find, make, thumbDown } from "./making.js";
import { copied, showReply } from "./reply.js";
import * as server from "./server.js";

// Turns: {words, text, id, record, policy, finish, fault, said, place}. `text` null: nothing was answered, or it may not be built upon.
// Policies are those of this server by the preset that is chosen, "" for none.
const state = { turns: [], running: null, policies: new Map(), policyFault: null };

const words = find("words"), status = find("status");

function conversation(until) {
  return state.turns.slice(0, until + 1).flatMap((turn, n) => [
    { role: "user", content: turn.words },
    ...(n < until && turn.text !== null ? [{ role: "assistant", content: turn.text }] : []),
  ]);
}

function wishes() {
  const count = Number(find("candidates").value), policy = find("preset").value;
  return { grounding: find("grounding").value, explain: true, ...(count ? { candidates: count } : {}), ...(policy ? { policy } : {}) };
}

// The policy under a preset, asked for again where it is not of that version: the server takes up a changed one while it runs.
async function policyUnder(preset, version) {
  const known = state.policies.get(preset) || null;
  if (known && (!version || known.fingerprint === version)) return known;
  try {
    const found = await server.policy(preset);
    state.policies.set(preset, found);
    state.policyFault = null;
    return found;
  } catch (fault) {
    state.policyFault = fault;
    return known;
  }
}

// --- one turn

function draw(turn, ...inside) {
  const told = make("article", { name: "turn assistant", "aria-label": "Winnow's reply" }, ...inside);
  if (turn.answer) turn.answer.replaceWith(told); else turn.place.append(told);
  turn.answer = told;
  return told;
}

function drawActions(turn, ...more) {
  const place = make("div", { name: "actions", role: "group", "aria-label": "With this reply" });
  if (turn.text) {
    place.append(button("Copy", async (event) => {
      const done = await copy(copied(turn.text, turn.record));
      announce(done ? "Copied." : "It could not be copied.");
      event.target.textContent = done ? "Copied" : "Not copied";
      setTimeout(() => { event.target.textContent = "Copy"; }, 2000);
    }));
  }
  if (turn === state.turns.at(-1)) place.append(button(turn.fault ? "Try again" : "Retry", () => run(turn), { name: "retry" }));
  if (turn.record) {
    const thumb = button("", () => askWhatIsWrong(turn.id, turn.said, (reasons) => { turn.said = reasons; mark(); }), { "aria-haspopup": "dialog" });
    const mark = () => {
      thumb.replaceChildren(thumbDown(), turn.said.length ? "Said what is wrong" : "Something is wrong");
      thumb.classList.toggle("on", turn.said.length > 0);
    };
    mark();
    place.append(thumb);
  }
  place.append(...more);
  return place;
}

function drawReply(turn) {
  const place = make("div", { name: "said" }), held = [];
  if (turn.finish === "content_filter") {
    const why = turn.record.input_blocked ? "Your message was blocked by the policy." : "Every candidate was dropped.";
    held.push(make("p", { name: "notice", text: `${why} These are the policy's own words.` }));
  }
  showReply(place, turn.text, turn.record, turn.finish !== "content_filter");
  if (turn.finish === "length") held.push(make("p", { name: "help", text: "The reply was cut at its longest." }));
  draw(turn, ...held, place, drawer(turn.record, turn.policy), drawActions(turn));
}

function drawHalf(turn, why) {
  const said = turn.partial ? make("p", { name: "text half", dir: "auto", text: turn.partial }) : null;
  draw(turn, said, make("p", { name: "notice", text: why }), drawActions(turn));
}

function drawFault(turn) {
  const fault = turn.fault;
  const said = turn.partial && fault.kind !== "withdrawn" ? make("p", { name: "text half", dir: "auto", text: turn.partial }) : null;
  const told = make("div", { name: `fault ${fault.kind}`, role: "alert" }, make("strong", { text: fault.title }), make("p", { text: fault.message }));
  const more = fault.kind === "key" ? [button("Enter a key", () => openOptions("key"))] : [];
  draw(turn, said, told, drawActions(turn, ...more));
  if (fault.wait) hold(turn, Math.ceil(fault.wait));
  if (fault.kind === "key") openOptions("key");
}

// The server said when to come back: until then there is no trying again.
function hold(turn, seconds) {
  const again = turn.answer.querySelector(".retry");
  if (!again || !again.isConnected) return;
  again.disabled = seconds > 0;
  again.textContent = seconds > 0 ? `Try again in ${seconds} s` : "Try again";
  if (seconds > 0) setTimeout(() => hold(turn, seconds - 1), 1000);
}

// --- asking

// A button that goes away takes the focus with it.
function keepFocus() {
  if (!document.activeElement || document.activeElement === document.body) words.focus({ preventScroll: true });
}

function busy(on) {
  find("stop").hidden = !on;
  find("send").hidden = on;
  find("turns").setAttribute("aria-busy", String(on));
  if (!on) status.textContent = "";
}

const PROGRESS = [
  [/^sampled (\d+)$/, (n) => `${n} replies sampled; judging them`],
  [/^screened, dropped (\d+)$/, (n) => (n === "0" ? "None dropped; looking for sources" : `${n} dropped; looking for sources`)],
];

function progress(note) {
  for (const [shape, told] of PROGRESS) {
    const found = shape.exec(note);
    if (found) status.textContent = told(found[1]);
  }
}

function arrived(turn, chunk, place) {
  const choice = (chunk.choices || []).find((one) => one.index === 0);
  turn.id = chunk.id || turn.id;
  if (choice && choice.delta && typeof choice.delta.content === "string" && choice.delta.content) {
    turn.partial += choice.delta.content;
    place.textContent = turn.partial;
  }
  if (choice && choice.finish_reason) turn.finish = choice.finish_reason;
  if (chunk.winnow) turn.record = chunk.winnow;
}

async function run(turn) {
  if (state.running) return;
  const control = new AbortController();
  state.running = control;
  Object.assign(turn, { text: null, partial: "", id: null, record: null, policy: null, finish: null, fault: null, said: [] });
  busy(true);
  status.textContent = "Sampling replies";
  const place = make("p", { name: "text", dir: "auto" });
  draw(turn, place);
  keepFocus();
  turn.place.scrollIntoView({ block: "nearest" });
  try {
    const wished = wishes();
    for await (const { note, chunk } of server.reply({ messages: conversation(state.turns.indexOf(turn)), ...wished }, control.signal)) {
      if (note !== undefined) progress(note); else arrived(turn, chunk, place);
    }
    if (!turn.record) throw new server.Fault("down", "The server cannot answer now", "What came is no answer of Winnow's.");
    // The bars are those of the policy that judged this reply.
    turn.policy = await policyUnder(wished.policy || "", turn.record.versions.policy);
    turn.text = turn.partial;
    drawReply(turn);
    announce(`Winnow: ${turn.text}`);
  } catch (error) {
    if (error.name === "AbortError") {
      drawHalf(turn, "Stopped.");
      announce("Stopped.");
    } else if (error instanceof server.Fault) {
      turn.fault = error;
      drawFault(turn);
    } else {
      turn.fault = new server.Fault("down", "This page failed", "Please load it again.");
      drawFault(turn);
      console.error(error);
    }
  } finally {
    state.running = null;
    busy(false);
    keepFocus();
  }
  turn.answer.scrollIntoView({ block: "nearest" });
}

function send() {
  const said = words.value.trim();
  if (!said || state.running) return;
  words.value = "";
  grow();
  find("welcome").hidden = true;
  const before = state.turns.at(-1);
  const turn = { words: said, place: make("div", { name: "exchange" }), said: [] };
  turn.place.append(make("article", { name: "turn user", "aria-label": "You" }, make("p", { name: "text", dir: "auto", text: said })));
  state.turns.push(turn);
  if (before) before.answer.querySelectorAll(".retry").forEach((one) => one.remove());
  find("turns").append(turn.place);
  run(turn);
}

// --- the page around it

function openOptions(focused) {
  find("options").hidden = false;
  find("show-options").setAttribute("aria-expanded", "true");
  find("options").scrollIntoView({ block: "nearest" });
  if (focused) find(focused).focus();
}

function grow() {
  words.style.height = "auto";
  words.style.height = `${Math.min(words.scrollHeight + 2, 200)}px`;
}

find("ask").addEventListener("submit", (event) => { event.preventDefault(); send(); });
find("stop").addEventListener("click", () => { if (state.running) state.running.abort(); words.focus(); });
words.addEventListener("input", grow);
words.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  send();
});
find("show-options").addEventListener("click", () => {
  if (find("options").hidden) openOptions();
  else {
    find("options").hidden = true;
    find("show-options").setAttribute("aria-expanded", "false");
  }
});
find("show-policy").addEventListener("click", async () => {
  showPolicy(await policyUnder(find("preset").value), state.policyFault);
});
find("begin-anew").addEventListener("click", () => {
  if (state.running) state.running.abort();
  state.turns = [];
  find("turns").replaceChildren();
  find("welcome").hidden = false;
  words.focus();
  announce("New chat.");
});
find("key").value = server.key.get();
find("key").addEventListener("input", () => server.key.set(find("key").value.trim()));
find("key").addEventListener("change", () => policyUnder(find("preset").value));

policyUnder("");
words.focus();

// The drawer under a reply: how many candidates were sampled and dropped, by what, and every score.

import { figure, make, many, newId, unseen } from "./making.js";

const REASONS = { unscored: "could not be judged", empty: "says nothing", ungrounded: "a claim without a source" };

const titleOf = (policy, name) => {
  const found = policy && policy.objectives.find((one) => one.name === name);
  return found ? found.title : REASONS[name] || name;
};

function bar(score, threshold) {
  const track = make("span", { name: "track", "aria-hidden": "true" }), fill = make("span", { name: "fill" });
  fill.style.width = `${100 * Math.min(Math.max(score || 0, 0), 1)}%`;
  track.append(fill);
  if (typeof threshold === "number") {
    const tick = make("span", { name: "tick" });
    tick.style.left = `${100 * threshold}%`;
    track.append(tick);
  }
  return track;
}

// One bar an objective. `scores`: by objective; `caption` says whose they are.
function bars(policy, scores, caption) {
  const body = make("tbody");
  const names = policy ? policy.objectives.map((one) => one.name) : Object.keys(scores);
  for (const name of names) {
    const objective = policy && policy.objectives.find((one) => one.name === name);
    const score = scores[name], threshold = objective ? objective.threshold : undefined;
    const over = typeof score === "number" && typeof threshold === "number" && score >= threshold;
    body.append(make("tr", { name: over ? "over" : undefined },
      make("th", { scope: "row", text: titleOf(policy, name) }),
      make("td", { name: "bar" }, bar(score, threshold)),
      make("td", { name: "number" }, figure(score), over ? unseen(" (at or over the threshold)") : null),
      make("td", { name: "number help", text: figure(threshold) })));
  }
  const head = make("thead", {}, make("tr", {},
    make("th", { scope: "col", text: "Objective" }), make("td"),
    make("th", { scope: "col", name: "number", text: "Score" }), make("th", { scope: "col", name: "number", text: "Limit" })));
  return make("table", { name: "bars" }, make("caption", { text: caption }), head, body);
}

function highest(verdicts) {
  const found = {};
  for (const verdict of verdicts) {
    for (const [name, score] of Object.entries(verdict.scores)) {
      if (typeof score === "number") found[name] = Math.max(found[name] ?? 0, score);
    }
  }
  return found;
}

const outcome = (verdict, policy) => {
  if (verdict.dropped) return `dropped: ${verdict.because.map((name) => titleOf(policy, name)).join(", ")}`;
  return verdict.choice !== null && verdict.choice !== undefined ? "sent" : "passed";
};

function drawn(verdict) {
  const said = [];
  if (verdict.with_evidence) said.push("with evidence");
  if (verdict.round) said.push(`research ${verdict.round}`);
  if (verdict.attempt > 0) said.push("second attempt");
  return said.join(", ");
}

// A row for each candidate; choosing one shows its bars.
function candidates(verdicts, policy, choose) {
  const body = make("tbody"), buttons = [];
  verdicts.forEach((verdict, n) => {
    const pick = make("button", { type: "button", "aria-pressed": "false", text: `${n + 1}`, "aria-label": `Scores of candidate ${n + 1}` });
    pick.addEventListener("click", () => {
      const on = pick.getAttribute("aria-pressed") !== "true";
      buttons.forEach((one) => one.setAttribute("aria-pressed", "false"));
      pick.setAttribute("aria-pressed", String(on));
      choose(on ? n : null);
    });
    buttons.push(pick);
    const name = verdict.dropped ? "dropped" : verdict.choice === 0 ? "sent" : undefined;
    const rated = verdict.quality ? ["sensible", "specific", "interesting"].map((one) => figure(verdict.quality[one])).join(" · ") : "–";
    const what = make("td", {}, outcome(verdict, policy), drawn(verdict) ? make("span", { name: "help", text: drawn(verdict) }) : null);
    // Only an operator's server sends the words of a candidate that was not sent (law 7).
    if (typeof verdict.text === "string") {
      what.append(make("details", {}, make("summary", { text: "Its words" }), make("p", { name: "its-words", dir: "auto", text: verdict.text })));
    }
    body.append(make("tr", { name }, make("td", {}, pick), what,
      make("td", { name: "number", text: figure(verdict.unsafe) }), make("td", { name: "number", text: rated })));
  });
  const heads = [["Candidate"], ["Outcome"], ["Unsafe", "number"], ["Sensible · specific · interesting", "number"]];
  const head = make("thead", {}, make("tr", {}, ...heads.map(([text, name]) => make("th", { scope: "col", text, name }))));
  return make("div", { name: "scroll", tabindex: "0", role: "region", "aria-label": "Table of candidates" },
    make("table", { name: "candidates" }, make("caption", { text: "The candidates. Choose a number to see its scores." }), head, body));
}

// What a shipped preset would have dropped of the same candidates, by their scores.
function underPreset(verdicts, policy) {
  const place = make("p", { name: "field" });
  if (!policy || !policy.objectives.some((one) => one.presets)) return place;
  const id = newId("preset"), told = make("output", { name: "help", for: id }), pick = make("select", { id });
  pick.append(make("option", { value: "", text: `this reply (${policy.preset})` }));
  const presets = [...new Set(policy.objectives.flatMap((one) => Object.keys(one.presets)))];
  for (const preset of presets) pick.append(make("option", { value: preset, text: `${preset}, as shipped` }));
  const tell = () => {
    const limit = (one) => (pick.value ? one.presets[pick.value] ?? one.threshold : one.threshold);
    const over = (verdict) => policy.objectives.some((one) => one.action === "drop" && !(verdict.scores[one.name] < limit(one)));
    told.textContent = `reaches ${verdicts.filter(over).length} of ${many(verdicts.length, "candidate")}`;
  };
  pick.addEventListener("change", tell);
  tell();
  place.append(make("label", { for: id, text: "The policy of" }), pick, told);
  return place;
}

function facts(record, seconds) {
  const list = make("dl");
  const add = (name, value) => { if (value) list.append(make("dt", { text: name }), make("dd", { text: value })); };
  add("Seed", String(record.seed));
  add("With evidence", `${record.with_evidence} of ${record.sampled}`);
  add("Attempts", String(record.attempts));
  for (const round of record.rounds || []) {
    const asked = round.queries.length ? ` for ${round.queries.map((one) => `“${one}”`).join(", ")}` : "";
    add(`Research ${round.round}`, `${round.found} found${asked}; ${round.sampled} sampled, ${round.dropped} dropped`);
  }
  add("Seconds", Object.entries(seconds || {}).map(([name, value]) => `${name} ${value.toFixed(2)}`).join(" · "));
  add("Versions", Object.entries(record.versions || {}).map(([name, value]) => `${name} ${value}`).join(" · "));
  return list;
}

export function drawer(record, policy) {
  const verdicts = record.verdicts || [];
  const place = make("details", { name: "drawer" },
    make("summary", { text: `${record.sampled} sampled · ${record.dropped} dropped` }));
  const by = Object.entries(record.dropped_by || {}).map(([name, count]) => `${titleOf(policy, name)} ${count}`).join(" · ");
  if (by) place.append(make("p", { text: `Dropped by: ${by}.` }));
  if (record.input_blocked) place.append(make("p", { text: "The question itself was blocked: nothing was sampled." }));
  if (verdicts.length) {
    const held = make("div", { role: "group", "aria-label": "Scores" });
    const show = (n) => {
      const whose = n === null ? "Highest score of any candidate" : `Scores of candidate ${n + 1}, ${outcome(verdicts[n], policy)}`;
      held.replaceChildren(bars(policy, n === null ? highest(verdicts) : verdicts[n].scores, whose));
    };
    show(null);
    place.append(underPreset(verdicts, policy), held, candidates(verdicts, policy, show));
  }
  place.append(facts(record, record.seconds));
  return place;
}

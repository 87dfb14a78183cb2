// The two dialogs: what the policy says, and what a person says is wrong with a reply.

import { announce, figure, find, make, newId } from "./making.js";
import * as server from "./server.js";

const GROUPS = {
  harm: "Avoids results that risk harm",
  injustice: "Avoids unjust impact on people",
  misinformation: "Avoids misinformation and divisive opinion",
  quality: "Quality",
};

for (const dialog of [find("policy"), find("feedback")]) {
  dialog.querySelector(".close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
}

function grouped(rows, draw) {
  const found = new Map();
  for (const row of rows) found.set(row.group, [...(found.get(row.group) || []), row]);
  return [...found].map(([group, own]) => draw(GROUPS[group] || group, own));
}

function explained(one, presets) {
  const held = one.action === "drop" ? "A reply that scores as much is dropped" : "A reply that scores as much is sent and reported";
  const shipped = presets.map((preset) => `${preset} ${figure(one.presets[preset])}`).join(", ");
  return make("li", { id: `objective-${one.name}` },
    make("h4", {}, one.title, " ", make("span", { name: "code", text: one.code })),
    make("p", { text: one.definition }),
    make("p", { name: "help", text: `${held}: ${figure(one.threshold)} or more, of 1.${shipped ? ` As shipped: ${shipped}.` : ""}` }));
}

export function showPolicy(policy, fault) {
  const place = find("policy").querySelector(".dialog-body");
  if (!policy) {
    place.replaceChildren(make("p", { role: "alert", text: `${fault ? `${fault.title}. ${fault.message}` : "The policy is not known."}` }));
  } else {
    const presets = [...new Set(policy.objectives.flatMap((one) => Object.keys(one.presets)))];
    const groups = grouped(policy.objectives, (title, own) =>
      make("section", {}, make("h3", { text: title }), make("ul", { name: "objectives" }, ...own.map((one) => explained(one, presets)))));
    place.replaceChildren(
      make("p", {}, "Every candidate is judged by the rules below, the policy ",
        make("strong", { text: policy.preset }), `. A candidate that breaks one is dropped, and nothing leaves unjudged.`),
      ...groups, make("p", { name: "help", text: `Version ${policy.fingerprint}` }));
  }
  find("policy").showModal();
  find("policy").querySelector(".dialog-body").scrollTop = 0;
}

function choices(title, own, said) {
  return make("fieldset", {}, make("legend", { text: title }), ...own.map((one) => {
    const id = newId("reason"), help = newId("reason-help");
    const box = make("input", { type: "checkbox", id, value: one.name, "aria-describedby": help });
    box.checked = said.includes(one.name);
    return make("p", { name: "reason" }, box, make("label", { for: id, text: one.title }), make("span", { name: "help", id: help, text: one.definition }));
  }));
}

// Asks what is wrong with the reply. `kept` is called with the reasons once the server has them; [] where they were taken back.
export async function askWhatIsWrong(completion, said, kept) {
  const dialog = find("feedback"), form = dialog.querySelector("form"), problem = dialog.querySelector(".problem");
  const place = dialog.querySelector(".dialog-body"), takeBack = dialog.querySelector(".take-back");
  problem.textContent = "";
  takeBack.hidden = !said.length;
  let known;
  try {
    known = await server.reasons();
  } catch (fault) {
    problem.textContent = `${fault.title}. ${fault.message}`;
  }
  form.querySelector("[type=submit]").disabled = !known || !known.kept;
  place.replaceChildren();
  if (known && !known.kept) place.append(make("p", { text: "This server keeps no decision log, so it cannot keep what you say of a reply." }));
  if (known && known.kept) {
    const about = known.texts_kept ? "It is kept with this conversation, to judge and train the classifiers by."
      : "It is kept without the words of this conversation, which this server does not retain.";
    place.append(make("p", { text: `Mark all that applies. ${about}` }), ...grouped(known.reasons, (title, own) => choices(title, own, said)));
  }
  const keep = async (reasons) => {
    try {
      await server.tell({ id: completion, choice: 0, reasons });
    } catch (fault) {
      problem.textContent = `${fault.title}. ${fault.message}`;
      return;
    }
    dialog.close();
    kept(reasons);
    announce(reasons.length ? "Kept. Thank you." : "Taken back.");
  };
  form.onsubmit = (event) => {
    event.preventDefault();
    const marked = [...place.querySelectorAll("input:checked")].map((box) => box.value);
    if (marked.length) keep(marked); else problem.textContent = "Mark at least one reason.";
  };
  takeBack.onclick = () => keep([]);
  if (!dialog.open) dialog.showModal();
  place.scrollTop = 0;
}

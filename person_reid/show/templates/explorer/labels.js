"use strict";
// Doubtful labels: each proposal beside the images for and against it. Decisions stay in the browser.

const STRIPS = { nearest: () => "nearest", own: ({ own }) => `labelled ${own}`, new: (proposal) => `${proposal.new}, proposed`,
  coming: (proposal) => `proposed for ${proposal.new} as well` };
const DECISIONS = {
  "": ["any", () => true],
  open: ["undecided", (accepted) => accepted === null],
  accepted: ["accepted", (accepted) => accepted === true],
  rejected: ["rejected", (accepted) => accepted === false],
};
const labels = { decisions: [], shown: [] };

// Reads the decisions that this browser stored on an earlier visit, or in another tab.
function recall() {
  const decisions = kept(DATA.labels.key);
  if (Array.isArray(decisions) && decisions.length === labels.decisions.length) labels.decisions = decisions;
}

// accepted: true, false, or null for undecided.
function decide(number, accepted) {
  labels.decisions[number] = accepted;
  keep(DATA.labels.key, labels.decisions);
  showDecisions();
}

function showDecisions() {
  for (const row of document.querySelectorAll("#suspects article")) {
    const accepted = labels.decisions[row.dataset.number];
    row.dataset.decision = accepted === true ? "accepted" : accepted === false ? "rejected" : "open";
    for (const button of row.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(accepted) === button.value);
    }
  }
  const number = (wanted) => labels.decisions.filter((accepted) => accepted === wanted).length;
  byId("progress").textContent =
    `${count(number(true))} accepted, ${count(number(false))} rejected, ${count(number(null))} undecided`;
  byId("export").textContent = `Export ${DATA.labels.file}`;
  byId("export").disabled = !number(true);
}

// Writes the accepted lines in the form that prepare.py --corrections reads.
function exportAccepted() {
  const accepted = DATA.labels.proposals.filter(({ number }) => labels.decisions[number]);
  const lines = accepted.flatMap((proposal) => proposal.lines.map((line) => [...line, "yes"]));
  download(DATA.labels.file, [DATA.labels.columns, ...lines]);
  window.onbeforeunload = null;
}

function prepareLabels() {
  const { proposals } = DATA.labels;
  labels.decisions = proposals.map(({ accepted }) => accepted);
  recall();
  const kinds = [...new Set(proposals.map(({ proposal }) => proposal))];
  const choices = {
    proposal: [["", "all"], ...kinds.map((name) => [name, name])],
    decision: Object.entries(DECISIONS).map(([name, [words]]) => [name, words]),
  };
  for (const [name, values] of Object.entries(choices)) {
    byId(name).append(...values.map(([value, textContent]) => element("option", { value, textContent })));
    byId(name).addEventListener("change", (event) => adjust({ [name]: event.target.value, doubt: "" }));
  }
  byId("export").addEventListener("click", exportAccepted);
  byId("suspects").addEventListener("click", ({ target }) => {
    const button = target.closest("button");
    if (!button) return;
    const number = Number(button.closest("article").dataset.number), wanted = button.value === "true";
    decide(number, labels.decisions[number] === wanted ? null : wanted); // a second click undoes it
  });
  byId("suspects").addEventListener("focusin", ({ target }) => {
    const { number } = target.closest("article").dataset;
    if (state().doubt !== number) adjust({ doubt: number });
  });
  window.addEventListener("storage", () => {
    recall();
    showDecisions();
  });
}

function showLabels(now) {
  const pane = byId("suspects"), key = [now.person, now.camera, now.tag, marks.version, now.proposal, now.decision].join("|");
  for (const name of ["proposal", "decision"]) byId(name).value = now[name];
  if (pane.dataset.key !== key) {
    pane.dataset.key = key;
    const passes = filterOf(now), [, decided] = DECISIONS[now.decision] ?? DECISIONS[""];
    labels.shown = DATA.labels.proposals.filter(({ number, proposal, images }) =>
      (!now.proposal || proposal === now.proposal) && decided(labels.decisions[number]) && images.some(passes));
    fill(pane, labels.shown.length, (i) => proposalRow(labels.shown[i]), 12);
    if (!labels.shown.length) pane.prepend(element("p", { className: "faint", textContent: "No proposal passes the filters." }));
  }
  showDecisions();
}

// The place, among the shown proposals, of the proposal that the address names, or -1.
const doubtOf = (now) => labels.shown.findIndex(({ number }) => String(number) === now.doubt);

// Gives a place of the list the focus, if there is such a place.
function lookAt(place) {
  const pane = byId("suspects"), row = () => pane.querySelectorAll("article")[place];
  if (!labels.shown[place]) return;
  while (!row()) pane.more();
  row().focus({ preventScroll: true });
  const scroll = () => row()?.scrollIntoView({ block: row().offsetHeight > window.innerHeight ? "start" : "nearest" });
  scroll();
  requestAnimationFrame(scroll); // rows get their height only when they become visible
}

// Performs a key's action in this view; returns whether the key has one.
function answerLabelKey(key) {
  const place = doubtOf(state()), answers = { a: true, r: false, u: null };
  if (key in answers && place >= 0) decide(labels.shown[place].number, answers[key]);
  else if (key !== "n" && key !== "p") return false;
  if (key !== "u") lookAt(key === "p" ? place - 1 : place + 1);
  return true;
}

function proposalRow(proposal) {
  const { number, images, own, probability, strips } = proposal;
  const choice = (value, words, key) => element("button", { type: "button", className: "button", value, textContent: words, title: `key ${key}` });
  const row = element("article", { className: "suspect", tabIndex: -1 },
    tile(images[0], "asked", [`labelled ${own}`, cameraOf(images[0]) && `camera ${cameraOf(images[0])}`].filter(Boolean)),
    element("div", {},
      element("h3", {}, `${proposal.proposal} ${own} → ${proposal.new}`, element("span", { className: "faint", textContent:
        `probability ${probability}${images.length > 1 ? ` · ${images.length} images at once` : ""}` })),
      element("p", { className: "buttons" }, choice(true, "Accept", "a"), choice(false, "Reject", "r")),
      element("p", { className: "faint", textContent: nameOf(images[0]) })));
  row.dataset.number = number;
  const parts = images.length > 1 ? [["these images", images.slice(1, 6).map((image) => [image])]] : [];
  for (const [name, words] of Object.entries(STRIPS)) parts.push([words(proposal), strips[name]]);
  row.append(element("div", { className: "strips" }, ...parts.filter(([, found]) => found.length).map(([words, found]) =>
    element("section", {}, element("h3", { textContent: words }), element("div", { className: "tiles" },
      ...found.map(([image, similarity]) => beside(proposal, image, similarity)))))));
  return row;
}

function beside(proposal, image, similarity) {
  const who = personOf(image), kind = who === proposal.new ? "right" : who === proposal.own ? "wrong" : "unknown";
  const spoken = { right: "proposed identity", wrong: "label in question", unknown: "somebody else" };
  const made = tile(image, kind, [whoAndWhere(image), similarity?.toFixed(3) ?? ""].filter(Boolean));
  made.setAttribute("aria-label", `${spoken[kind]}, ${made.textContent}`);
  return made;
}

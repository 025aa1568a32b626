"use strict";
// The page: shows what the address specifies, and responds to clicks and keys.

const VIEWS = { ranking: showRanking, images: showImages, people: showPeople, tracks: showTracks, events: showEvents };
const DEFAULTS = { view: "ranking", image: "", person: "", camera: "", where: "", after: "", before: "", threshold: "", link: "" };
const NOTHING_CHOSEN = { person: "", camera: "", where: "", after: "", before: "", threshold: "" };
const known = { people: [], cameras: [] };
let version = 0; // counts this page's changes to the gallery

// Returns whether a pane shows something other than this, which it then shows.
function changed(pane, what) {
  const key = JSON.stringify([version, what]);
  if (pane.dataset.key === key) return false;
  pane.dataset.key = key;
  return true;
}

function show() {
  const now = state(), view = VIEWS[now.view] ? now.view : "ranking", before = document.body.dataset.view;
  for (const name of Object.keys(VIEWS)) {
    byId(`view-${name}`).hidden = name !== view;
    const tab = document.querySelector(`nav a[data-view="${name}"]`);
    tab.href = linkTo({ view: name, image: "" });
    tab.setAttribute("aria-current", name === view ? "page" : "false"); // an empty value would mean false
  }
  for (const field of document.querySelectorAll("#filters [name]")) {
    if (field !== document.activeElement || field.tagName === "SELECT") field.value = now[field.name];
  }
  byId("reset").hidden = linkTo({}) === linkTo(NOTHING_CHOSEN);
  VIEWS[view](now);
  if (view !== before) window.scrollTo(0, 0);
  document.body.dataset.view = view;
  document.body.dataset.shown = address(); // for tests: this address has been drawn
}

// Reads the names of people and cameras again, and shows the gallery's current state.
async function renew() {
  version++;
  const [{ people }, { cameras }] = await Promise.all([ask("GET", "people"), ask("GET", "cameras")]);
  Object.assign(known, { people, cameras });
  const option = (value, textContent = value) => element("option", { value, textContent });
  byId("people").replaceChildren(...people.map((name) => option(name)));
  byId("camera").replaceChildren(option("", "all"), ...cameras.map((name) => option(name)));
  byId("camera").parentElement.hidden = !cameras.length;
  show();
}

function unfold(open) {
  byId("filters").classList.toggle("open", open);
  byId("unfold").setAttribute("aria-expanded", open);
}

function answerKey(event) {
  const { key, target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (target.matches("input, select")) {
    if (key === "Escape") target.blur();
    return;
  }
  const views = Object.keys(VIEWS);
  if (moveByArrow(event)) {
    // done
  } else if (views[Number(key) - 1]) {
    go({ view: views[Number(key) - 1], image: "" });
  } else if (key === "o") {
    byId("file").click();
  } else if (key === "/") {
    unfold(true);
    document.querySelector("#filters [name=person]").focus();
  } else if (key === "?") {
    byId("help").showModal();
  } else if (key === "Escape") {
    go({ view: "ranking", image: "" });
  } else {
    return;
  }
  event.preventDefault();
}

function begin() {
  takeToken();
  prepareRanking();
  prepareTracks();
  for (const field of document.querySelectorAll("#filters [name]")) {
    field.addEventListener("change", () => adjust({ [field.name]: field.value }));
  }
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("unfold").addEventListener("click", () => unfold(!byId("filters").classList.contains("open")));
  byId("reset").addEventListener("click", () => adjust(NOTHING_CHOSEN));
  byId("question").addEventListener("submit", (event) => {
    event.preventDefault();
    byId("question").close("agreed");
  });
  byId("refuse").addEventListener("click", () => byId("question").close());
  byId("ask").addEventListener("click", () => byId("help").showModal());
  window.addEventListener("hashchange", arrive);
  document.addEventListener("click", writeAddress); // a link may leave this page
  document.addEventListener("keydown", answerKey);
  document.addEventListener("visibilitychange", () => document.hidden || show()); // live pictures resume
  attempt(renew);
}

document.addEventListener("DOMContentLoaded", begin);

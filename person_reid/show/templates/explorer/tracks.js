"use strict";
// People across cameras: the tracks of each along time, doubtful links first. What is cut, joined, named or confirmed by hand
// stays in the browser until it is exported.

// people: the person of each track; known: what each track's person is called, or ""; checked: the people that somebody has
// looked at; past: earlier states of the three. named: the state for which names were found, and names: those names.
const across = { people: [], known: [], checked: [], past: [], named: [], names: new Map() };
const tracksOf = (person) => across.people.flatMap((each, track) => (each === person ? [track] : []));
const numberedName = (person) => `person ${String(person + 1).padStart(4, "0")}`; // as search.py people calls new ones
const personName = (person) => knownNames().get(person) ?? numberedName(person);
const marginOf = (tracks) => Math.min(...tracks.map((track) => DATA.tracks.tracks[track].margin ?? Infinity));

// {person: name} of those whom somebody has named, as name_people in person_reid/gallery/naming.py has it: a person has the
// name of most of its tracks, and a name the person with most of its tracks.
function knownNames() {
  if (across.named[0] === across.people && across.named[1] === across.known) return across.names;
  const votes = new Map(), names = new Map(), taken = new Set();
  across.people.forEach((person, track) => {
    const name = across.known[track];
    if (!name) return;
    const key = JSON.stringify([person, name]);
    votes.set(key, [(votes.get(key)?.[0] ?? 0) + 1, person, name]);
  });
  const sorted = [...votes.values()].sort((a, b) => b[0] - a[0] || a[1] - b[1] || (a[2] < b[2] ? -1 : 1));
  for (const [, person, name] of sorted) {
    if (names.has(person) || taken.has(name)) continue;
    names.set(person, name);
    taken.add(name);
  }
  return Object.assign(across, { names, named: [across.people, across.known] }).names;
}

const stateOfAcross = () => ({ people: across.people, known: across.known, checked: across.checked });

function keepAcross() {
  keep(DATA.tracks.key, stateOfAcross());
  countAcross();
}

function countAcross() {
  const changed = across.people.filter((person, track) => person !== DATA.tracks.tracks[track].person).length;
  const people = new Set(across.people).size;
  byId("walked").textContent =
    `${counted(people, "person", "people")}, ${count(across.checked.length)} checked, ${counted(changed, "track", "tracks")} moved`;
  byId("save-people").textContent = `Export ${DATA.tracks.file}`;
  byId("corrections").textContent = DATA.tracks.command;
  byId("save-people").disabled = !across.checked.length;
  byId("undo").disabled = !across.past.length;
}

// Puts some tracks to a person; both this one and those that lose tracks count as checked.
function move(tracks, person) {
  across.past.push(JSON.stringify(stateOfAcross()));
  const before = tracks.map((track) => across.people[track]);
  across.people = across.people.map((each, track) => (tracks.includes(track) ? person : each));
  across.checked = [...new Set([...across.checked, ...before, person])].filter((each) => across.people.includes(each));
  keepAcross();
  return before;
}

// The track becomes a person of its own, whom nobody else is. The numbers of people count from 1.
const cut = (track) => move([track], Math.max(DATA.tracks.highest, ...across.people.map((person) => person + 1)));
const join = (person, other) => move(tracksOf(person), other);

function confirmPerson(person) {
  const without = across.checked.filter((each) => each !== person);
  across.past.push(JSON.stringify(stateOfAcross()));
  across.checked = without.length < across.checked.length ? without : [...without, person];
  keepAcross();
}

// Calls a person by a name, or by its number again if the name is empty; the person then counts as checked.
// Returns why that cannot be, or "".
function callPerson(person, text) {
  const name = text.trim(), same = [...knownNames()].find(([other, known]) => known === name && other !== person);
  if (same) return `Person ${same[0] + 1} has this name. If they are one, join them.`;
  if (/^person \d{4,15}$/.test(name)) return "A name, not a number";
  across.past.push(JSON.stringify(stateOfAcross()));
  across.known = across.known.map((known, track) => (across.people[track] === person ? name : known));
  across.checked = [...new Set([...across.checked, person])];
  keepAcross();
  return "";
}

// All images of the people that were checked, now or in the corrections that were given, as across.py --corrections,
// search.py apply and prepare.py --csv read them.
function checkedRows() {
  const { tracks, columns, identity } = DATA.tracks;
  const lines = tracks.flatMap(({ rows, given }, track) => given || across.checked.includes(across.people[track])
    ? rows.map((row) => row.with(identity, personName(across.people[track]))) : []);
  return [columns, ...lines];
}

function act(button) {
  const article = button.closest("article"), person = Number(article.dataset.person);
  const { act: what, track, other } = button.dataset;
  const [field, called] = article.querySelectorAll("input");
  if (what === "check") confirmPerson(person);
  else if (what === "call") {
    const fault = callPerson(person, called.value);
    if (fault) {
      called.setCustomValidity(fault);
      called.reportValidity();
      return;
    }
  }
  else if (what === "cut") {
    cut(Number(track));
    article.after(personRow(across.people[Number(track)]));
  } else {
    const wanted = what === "move" ? Number(other) : Number(field.value) - 1;
    if (!across.people.includes(wanted) || wanted === person) {
      field.setCustomValidity("The number of another person");
      field.reportValidity();
      return;
    }
    if (what === "move") move([Number(track)], wanted); else join(person, wanted);
    document.querySelector(`#walkers article[data-person="${wanted}"]`)?.replaceWith(personRow(wanted));
  }
  if (across.people.includes(person)) {
    const row = personRow(person);
    article.replaceWith(row);
    row.focus();
  } else article.remove();
}

function prepareTracks() {
  across.people = DATA.tracks.tracks.map(({ person }) => person);
  across.known = DATA.tracks.tracks.map(({ known }) => known);
  const earlier = kept(DATA.tracks.key);
  if (earlier?.people?.length === across.people.length) Object.assign(across, earlier);
  byId("save-people").addEventListener("click", () => {
    download(DATA.tracks.file, checkedRows());
    window.onbeforeunload = null;
  });
  byId("undo").addEventListener("click", () => {
    Object.assign(across, JSON.parse(across.past.pop()));
    keepAcross();
    byId("walkers").dataset.key = "";
    show();
  });
  byId("walkers").addEventListener("click", ({ target }) => {
    const button = target.closest("button");
    if (button) act(button);
  });
  byId("walkers").addEventListener("keydown", ({ key, target }) => {
    if (key === "Enter" && target.matches("input")) act(target.nextElementSibling);
  });
  byId("walkers").addEventListener("input", ({ target }) => target.setCustomValidity(""));
}

function showTracks(now) {
  const pane = byId("walkers"), key = [now.person, now.camera].join("|");
  if (pane.dataset.key !== key) {
    pane.dataset.key = key;
    const passes = filterOf(now), all = !now.person && !now.camera, groups = new Map();
    across.people.forEach((person, track) => groups.set(person, [...(groups.get(person) ?? []), track]));
    const shown = [...groups].filter(([, tracks]) => all || tracks.some((track) => DATA.tracks.tracks[track].images.some(passes)));
    shown.sort(([, a], [, b]) => marginOf(a) - marginOf(b));
    fill(pane, shown.length, (i) => personRow(shown[i][0]), 12);
    if (!shown.length) pane.prepend(element("p", { className: "faint", textContent: "No person passes the filters." }));
  }
  countAcross();
}

function personRow(person) {
  const mine = tracksOf(person).sort((a, b) => DATA.tracks.tracks[a].first - DATA.tracks.tracks[b].first);
  const tracks = mine.map((track) => DATA.tracks.tracks[track]);
  const cameras = [...new Set(tracks.map(({ camera }) => camera))];
  const checked = across.checked.includes(person);
  const check = element("button", { type: "button", className: "button", textContent: checked ? "✓ checked" : "Right" });
  check.dataset.act = "check";
  check.setAttribute("aria-pressed", checked);
  const other = element("input", { type: "number", min: 1, placeholder: "person" });
  other.setAttribute("aria-label", "number of the person to join with");
  const joined = element("button", { type: "button", className: "button", textContent: "Join" });
  joined.dataset.act = "join";
  const called = element("input", { type: "text", className: "called", maxLength: 200, placeholder: "name", value: knownNames().get(person) ?? "" });
  called.setAttribute("aria-label", "name of the person");
  const named = element("button", { type: "button", className: "button", textContent: "Name" });
  named.dataset.act = "call";
  const seen = `${counted(tracks.length, "track", "tracks")} · ${counted(cameras.length, "camera", "cameras")}`;
  const row = element("article", { className: "walker", tabIndex: -1 },
    element("h2", {}, personName(person), element("span", { className: "faint", textContent: seen })),
    element("p", { className: "buttons" }, check, other, joined, called, named),
    lanes(tracks, cameras),
    element("div", { className: "strips" }, ...mine.map((track) => trackPart(track, mine.length > 1))));
  row.dataset.person = person;
  row.dataset.decision = checked ? "accepted" : "open";
  return row;
}

function trackPart(track, linked) {
  const { camera, name, boxes, margin, nearest, images } = DATA.tracks.tracks[track];
  const doubtful = margin !== null && margin < DATA.tracks.doubtful, buttons = [];
  if (linked) {
    const button = element("button", { type: "button", className: "button", textContent: "Cut", title: "a person of its own" });
    Object.assign(button.dataset, { act: "cut", track });
    buttons.push(button);
  }
  if (doubtful && across.people.includes(nearest) && across.people[track] !== nearest) {
    const button = element("button", { type: "button", className: "button", textContent: `Move to ${personName(nearest)}` });
    Object.assign(button.dataset, { act: "move", track, other: nearest });
    buttons.push(button);
  }
  return element("section", {},
    element("h3", {}, `${camera && `camera ${camera} · `}${name}`),
    element("p", { className: "faint", textContent: `${spanOf(DATA.tracks.tracks[track])} · ${counted(boxes, "box", "boxes")}` }),
    element("p", { className: doubtful ? "doubtful" : "faint", textContent: margin === null ? (images.length ? "" : "no image in the index") : `margin ${margin.toFixed(3)}` }),
    element("div", { className: "tiles" }, ...images.map((image) => tile(image, doubtful ? "doubtful" : "asked", []))),
    element("p", { className: "buttons" }, ...buttons));
}

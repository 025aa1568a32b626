"use strict";
// People across cameras: the tracks of each person on a timeline, doubtful links first. Manual cuts, joins, names and
// confirmations stay in the browser until they are exported.

// people: the person on each track, NOBODY if it does not show a person, DOUBTED if it may not; names: the names of people; checked: the people
// that somebody has checked; past: earlier states of these three.
const NOBODY = -1, DOUBTED = -2, across = { people: [], names: {}, checked: [], past: [] };
const tracksOf = (person) => across.people.flatMap((each, track) => (each === person ? [track] : []));
const numberedName = (person) => `person ${String(person + 1).padStart(4, "0")}`; // as search.py people names new people
const personName = (person) => ({ [NOBODY]: "not a person", [DOUBTED]: "perhaps not a person" })[person] ?? across.names[person] ?? numberedName(person);
const listedName = (person) => (person < 0 ? "-1" : personName(person));
const marginOf = (tracks) => Math.min(...tracks.map((track) => DATA.tracks.tracks[track].margin ?? Infinity));
const nameOfTrack = (track) => `${DATA.tracks.tracks[track].camera} ${DATA.tracks.tracks[track].name}`;

// The first of some tracks that overlaps in time with a track of a person, and that track. kind: "apart" if they cannot
// be one person, "twice" if they may be one person whom the detector saw twice.
function clashOf(tracks, person, kind) {
  const rivals = (track) => DATA.tracks.tracks[track][kind].find((other) => across.people[other] === person && !tracks.includes(other));
  const first = tracks.find((track) => rivals(track) !== undefined);
  return first === undefined ? null : [first, rivals(first)];
}

const stateOfAcross = () => ({ people: across.people, names: across.names, checked: across.checked });

function keepAcross() {
  keep(DATA.tracks.key, stateOfAcross());
  countAcross();
}

function countAcross() {
  const changed = across.people.filter((person, track) => person !== DATA.tracks.tracks[track].person).length;
  const people = new Set(across.people.filter((person) => person >= 0)).size;
  byId("walked").textContent =
    `${counted(people, "person", "people")}, ${count(across.checked.length)} checked, ${counted(changed, "track", "tracks")} moved`;
  byId("save-people").textContent = `Export ${DATA.tracks.file}`;
  byId("corrections").textContent = DATA.tracks.command;
  byId("save-people").disabled = !across.checked.length;
  byId("undo").disabled = !across.past.length;
}

// Assigns some tracks to a person; this person and those who lose tracks count as checked.
function move(tracks, person) {
  across.past.push(JSON.stringify(stateOfAcross()));
  const before = tracks.map((track) => across.people[track]);
  across.people = across.people.map((each, track) => (tracks.includes(track) ? person : each));
  const { [before[0]]: name, ...others } = across.names;
  if (!across.people.includes(before[0])) across.names = name && person >= 0 ? { [person]: name, ...others } : others;
  across.checked = [...new Set([...across.checked, ...before.filter((each) => each !== DOUBTED), person])].filter((each) => across.people.includes(each));
  keepAcross();
  return before;
}

// The track becomes a separate new person. Numbers of people count from 1.
const cut = (track) => move([track], Math.max(DATA.tracks.highest, ...across.people.map((person) => person + 1)));
const join = (person, other) => move(tracksOf(person), other);
const dismiss = (track) => move([track], NOBODY);

function confirmPerson(person) {
  const without = across.checked.filter((each) => each !== person);
  across.past.push(JSON.stringify(stateOfAcross()));
  across.checked = without.length < across.checked.length ? without : [...without, person];
  keepAcross();
}

// Gives a person a name, or the number again if the name is empty; the person then counts as checked.
// Returns why that is impossible, or "".
function callPerson(person, text) {
  const name = text.trim(), same = Object.entries(across.names).find(([other, known]) => known === name && Number(other) !== person);
  if (same) return `Person ${Number(same[0]) + 1} has this name. If they are one, join them.`;
  if (/^(person \d{4,15}|-1)$/.test(name)) return "A name, not a number";
  across.past.push(JSON.stringify(stateOfAcross()));
  across.names = { ...across.names, [person]: name };
  if (!name) delete across.names[person];
  across.checked = [...new Set([...across.checked, person])];
  keepAcross();
  return "";
}

// All images of the people that were checked, now or in the given corrections, in the form that across.py --corrections,
// search.py apply and prepare.py --csv read.
function checkedRows() {
  const { tracks, columns, identity } = DATA.tracks;
  const lines = tracks.flatMap(({ rows, given }, track) => given || across.checked.includes(across.people[track])
    ? rows.map((row) => row.with(identity, listedName(across.people[track]))) : []);
  return [columns, ...lines];
}

function act(button) {
  const article = button.closest("article"), person = Number(article.dataset.person);
  const { act: what, track, other, twice } = button.dataset;
  const [field, called] = article.querySelectorAll("input");
  const refuse = (input, why) => {
    input.setCustomValidity(why);
    input.reportValidity();
  };
  if (what === "check") confirmPerson(person);
  else if (what === "call") {
    const fault = callPerson(person, called.value);
    if (fault) return refuse(called, fault);
  } else if (what === "cut" || what === "dismiss") {
    (what === "cut" ? cut : dismiss)(Number(track));
    const [made] = [across.people[Number(track)]];
    document.querySelector(`#walkers article[data-person="${made}"]`)?.remove();
    article.after(personRow(made));
  } else {
    const wanted = what === "move" ? Number(other) : Number(field.value) - 1;
    const tracks = what === "move" ? [Number(track)] : tracksOf(person);
    if (wanted < 0 || !across.people.includes(wanted) || wanted === person) return refuse(field, "The number of another person");
    const apart = clashOf(tracks, wanted, "apart"), both = clashOf(tracks, wanted, "twice");
    if (apart) {
      return refuse(field, `${apart.map(nameOfTrack).join(" and ")} are at two places at once. If one is not a person, say so; if it shows two, it cannot be joined.`);
    }
    if (both && !twice) return askTwice(button, both);
    move(tracks, wanted);
    document.querySelector(`#walkers article[data-person="${wanted}"]`)?.replaceWith(personRow(wanted));
  }
  if (across.people.includes(person)) {
    const row = personRow(person);
    article.replaceWith(row);
    row.focus();
  } else article.remove();
}

// Asks whether two simultaneous tracks whose boxes touch are one person. "Same person twice" then does the button's action.
function askTwice(button, both) {
  button.closest("article").querySelector(".twice")?.remove();
  const sure = actButton("Same person twice", { ...button.dataset, twice: "yes" });
  button.parentElement.after(element("p", { className: "buttons twice" },
    `${both.map(nameOfTrack).join(" and ")} overlap in time, and their boxes touch. If a detector saw one person twice:`, sure));
}

function actButton(textContent, data, title = "") {
  const button = element("button", { type: "button", className: "button", textContent, title });
  Object.assign(button.dataset, data);
  return button;
}

function prepareTracks() {
  across.people = DATA.tracks.tracks.map(({ person }) => person);
  across.names = { ...DATA.tracks.names };
  DATA.tracks.span = spanOfAll(DATA.tracks.tracks);
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
  for (const event of ["input", "focusout"]) byId("walkers").addEventListener(event, ({ target }) => target.setCustomValidity?.(""));
}

function showTracks(now) {
  const pane = byId("walkers"), key = [now.person, now.camera].join("|");
  if (pane.dataset.key !== key) {
    pane.dataset.key = key;
    const passes = filterOf(now), all = !now.person && !now.camera, groups = new Map();
    across.people.forEach((person, track) => groups.set(person, [...(groups.get(person) ?? []), track]));
    const shown = [...groups].filter(([, tracks]) => all || tracks.some((track) => DATA.tracks.tracks[track].images.some(passes)));
    shown.sort(([one, a], [other, b]) => (one === NOBODY) - (other === NOBODY) || (other === DOUBTED) - (one === DOUBTED) || marginOf(a) - marginOf(b));
    fill(pane, shown.length, (i) => personRow(shown[i][0]), 12);
    if (!shown.length) pane.prepend(element("p", { className: "faint", textContent: "No person passes the filters." }));
  }
  countAcross();
}

function personRow(person) {
  const mine = tracksOf(person).sort((a, b) => DATA.tracks.tracks[a].first - DATA.tracks.tracks[b].first);
  const tracks = mine.map((track) => DATA.tracks.tracks[track]);
  const cameras = [...new Set(DATA.tracks.tracks.map(({ camera }) => camera))].filter((name) => tracks.some(({ camera }) => camera === name));
  const checked = across.checked.includes(person);
  const check = actButton(checked ? "✓ checked" : person === DOUBTED ? "Not people" : "Right", { act: "check" });
  check.setAttribute("aria-pressed", checked);
  const other = element("input", { type: "number", min: 1, placeholder: "person" });
  other.setAttribute("aria-label", "number of the person to join with");
  const called = element("input", { type: "text", className: "called", maxLength: 200, placeholder: "name", value: across.names[person] ?? "" });
  called.setAttribute("aria-label", "name of the person");
  const buttons = [check, other, actButton("Join", { act: "join" }), called, actButton("Name", { act: "call" })];
  const seen = `${counted(tracks.length, "track", "tracks")} · ${counted(cameras.length, "camera", "cameras")}`;
  const row = element("article", { className: "walker", tabIndex: -1 },
    element("h2", {}, personName(person), element("span", { className: "faint", textContent: seen })),
    ...(person === DOUBTED ? [element("p", { className: "buttons" }, check)] : []),
    ...(person < 0 ? [] : [element("p", { className: "buttons" }, ...buttons), lanes(tracks, cameras, ...DATA.tracks.span)]),
    element("div", { className: "strips" }, ...mine.map((track) => trackPart(track, mine.length > 1 || person < 0))));
  row.dataset.person = person;
  row.dataset.decision = checked ? "accepted" : "open";
  return row;
}

function trackPart(track, linked) {
  const { camera, name, boxes, margin, nearest, images } = DATA.tracks.tracks[track];
  const doubtful = margin !== null && margin < DATA.tracks.doubtful, buttons = [];
  if (linked) buttons.push(actButton("Cut", { act: "cut", track }, "make it a separate person"));
  if (doubtful && across.people.includes(nearest) && across.people[track] !== nearest) {
    buttons.push(actButton(`Move to ${personName(nearest)}`, { act: "move", track, other: nearest }));
  }
  if (across.people[track] !== NOBODY) buttons.push(actButton("Not a person", { act: "dismiss", track }, "a thing, a reflection, or half of a person"));
  return element("section", {},
    element("h3", {}, `${camera && `camera ${camera} · `}${name}`),
    element("p", { className: "faint", textContent: `${spanOf(DATA.tracks.tracks[track])} · ${counted(boxes, "box", "boxes")}` }),
    element("p", { className: doubtful ? "doubtful" : "faint", textContent: margin === null ? (images.length ? "" : "no image in the index") : `margin ${margin.toFixed(3)}` }),
    element("div", { className: "tiles" }, ...images.map((image) => tile(image, doubtful ? "doubtful" : "asked", []))),
    element("p", { className: "buttons" }, ...buttons));
}

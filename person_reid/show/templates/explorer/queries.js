"use strict";
// The wall of queries, or of all images if there are no queries, and the filters that choose among them.

const FIRSTS = {
  "": ["any", () => true],
  1: ["1", (first) => first === 0],
  5: ["2 to 5", (first) => first >= 1 && first < 5],
  10: ["6 to 10", (first) => first >= 5 && first < 10],
  more: ["above 10", (first) => first >= 10],
  none: ["no match in the gallery", (first) => first < 0],
};

const SORTS = {
  worst: ["lowest AP first", (ranking) => (a, b) => ranking.precision[a] - ranking.precision[b]],
  best: ["highest AP first", (ranking) => (a, b) => ranking.precision[b] - ranking.precision[a]],
  late: ["latest match first", (ranking) => (a, b) => ranking.first[b] - ranking.first[a]],
  sure: ["most similar answer first", (ranking) => (a, b) => similarity(ranking, b) - similarity(ranking, a)],
  index: ["as in the result", () => (a, b) => a - b],
};

// The similarity of a query's first answer; -2 if it has none.
function similarity(ranking, query) {
  ranking.firstSimilarities ??= Float32Array.from({ length: DATA.images.queries }, (_, i) => {
    const place = firstAnswer(ranking, i);
    return place < 0 ? -2 : ranking.similarities[place];
  });
  return ranking.firstSimilarities[query];
}

// Returns a function that tells whether an image passes the filters; only queries have a rank and a similarity.
function filterOf(now) {
  const ranking = rankingOf(now);
  const [, first] = FIRSTS[now.first] ?? FIRSTS[""];
  const low = now.low === "" ? -Infinity : Number(now.low), high = now.high === "" ? Infinity : Number(now.high);
  const person = now.person.trim().replace(/^0+(?=\d)/, "");
  return (image) => {
    if (person && personOf(image).replace(/^0+(?=\d)/, "") !== person) return false;
    if (now.camera && cameraOf(image) !== now.camera) return false;
    if (now.where && !pairsOf(image).includes(now.where)) return false;
    if (now.tag && !isMarked(image, now.tag)) return false;
    if (!DATA.images.queries) return true;
    if (!isQuery(image)) return now.first === "" && now.low === "" && now.high === "";
    const similar = similarity(ranking, image);
    return first(ranking.first[image]) && similar >= low && similar <= high;
  };
}

const CHOICE = ["by", "sort", "person", "camera", "where", "tag", "first", "low", "high"]; // these determine which queries are shown, and in which order
const choiceOf = (now) => [...CHOICE.map((name) => now[name]), marks.version].join("|");
const chosen = { key: null, queries: [] };

// The queries that pass the filters, in the order of the wall.
function chosenQueries(now) {
  if (chosen.key === choiceOf(now)) return chosen.queries;
  const compare = (SORTS[now.sort] ?? SORTS.worst)[1](rankingOf(now));
  const queries = Array.from({ length: wallLength() }, (_, query) => query).filter(filterOf(now));
  if (DATA.images.queries) queries.sort((a, b) => compare(a, b) || a - b);
  return Object.assign(chosen, { key: choiceOf(now), queries }).queries;
}

function queryTile(query, ranking) {
  if (!isQuery(query)) return tile(query, "asked", [whoAndWhere(query)]);
  const first = ranking.first[query];
  const kind = first === 0 ? "right" : first < 0 ? "asked" : "wrong";
  const rank = first < 0 ? "no match" : `${MARKS[kind]}rank ${first + 1}`;
  return tile(query, kind, [`AP ${ranking.precision[query].toFixed(3)}`, rank, whoAndWhere(query)]);
}

function showQueries(now) {
  const wall = byId("wall");
  if (wall.dataset.key === choiceOf(now)) return; // the wall keeps its scroll position while another view is shown
  wall.dataset.key = choiceOf(now);
  const queries = chosenQueries(now), ranking = rankingOf(now);
  fill(wall, queries.length, (i) => queryTile(queries[i], ranking), 150);
  if (!queries.length) wall.prepend(element("p", { className: "faint", textContent: `No ${inWords()} pass the filters.` }));
}

const MOST_PAIRS = 200; // offered values of further columns; others can be typed

// Fills the filter bar with choices, and connects them.
function prepareFilters() {
  const choices = {
    by: DATA.rankings.map(({ name }, i) => [i, name]),
    beside: [["", "nothing"], ...DATA.rankings.map(({ name }, i) => [i, name])],
    camera: [["", "all"], ...DATA.images.cameras.filter(Boolean).map((name) => [name, name])],
    first: ["", 1, 5, 10, "more", "none"].map((name) => [name, FIRSTS[name][0]]),
    sort: Object.entries(SORTS).map(([name, [words]]) => [name, words]),
  };
  for (const [name, values] of Object.entries(choices)) {
    byId(name).append(...values.map(([value, textContent]) => element("option", { value, textContent })));
  }
  for (const field of document.querySelectorAll("#filters [name]")) {
    field.addEventListener(field.tagName === "SELECT" ? "change" : "input", () => adjust({ [field.name]: field.value }));
  }
  byId("unfold").addEventListener("click", () => unfold(!byId("filters").classList.contains("open")));
  byId("reset").addEventListener("click", () => adjust(NOTHING_CHOSEN));
  for (const part of document.querySelectorAll(".several")) part.hidden = DATA.rankings.length < 2;
  for (const part of document.querySelectorAll(".ranked")) part.hidden = !DATA.images.queries;
  byId("camera").parentElement.hidden = byId("apart").hidden = !DATA.images.cameras.some(Boolean);
  const pairs = [...new Set(DATA.images.further.flatMap((_, image) => pairsOf(image)))];
  byId("pairs-of-columns").append(...pairs.slice(0, MOST_PAIRS).sort().map((value) => element("option", { value })));
  document.querySelector("[name=where]").parentElement.hidden = !pairs.length;
  document.querySelector("[name=person]").parentElement.hidden = !DATA.images.people.some(Boolean);
}

// Shows or hides the filters, which are hidden at first in a narrow window.
function unfold(open) {
  byId("filters").classList.toggle("open", open);
  byId("unfold").setAttribute("aria-expanded", open);
}

const NOTHING_CHOSEN = { person: "", camera: "", where: "", tag: "", first: "", low: "", high: "", threshold: "" };

function showFilters(now) {
  showMarks(now);
  byId("unfold").hidden = !document.querySelector("#filters > label:not([hidden])");
  for (const field of document.querySelectorAll("#filters [name]")) {
    if (field !== document.activeElement || field.tagName === "SELECT") field.value = now[field.name];
  }
  const some = chosenQueries(now).length, all = wallLength(), threshold = thresholdOf(now);
  byId("chosen").textContent =
    (some === all ? "" : `${count(some)} of `) + `${count(all)} ${inWords(all)}` +
    (threshold === undefined ? "" : ` · threshold ${threshold.toFixed(4)}`);
  byId("reset").hidden = linkTo({}) === linkTo(NOTHING_CHOSEN);
  const { figures } = rankingOf(now);
  const names = { rank1: "Rank@1", rank5: "Rank@5", rank10: "Rank@10", mAP: "mAP", mINP: "mINP" };
  byId("figures").replaceChildren(
    ...Object.entries(figures ? names : {}).map(([name, words]) =>
      element("li", {}, element("b", { textContent: percent(figures[name]) }), words)),
  );
}

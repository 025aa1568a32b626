"use strict";
// The page: shows what the address specifies, and responds to clicks and keys.

const VIEWS = { queries: showQueries, ranking: showRanking, map: showMap, threshold: showThreshold, compare: showCompare, labels: showLabels, tracks: showTracks };

// The views that this explorer has, in the order of their tabs.
function viewsHere() {
  const there = { threshold: DATA.thresholds, compare: DATA.rankings.length > 1, labels: DATA.labels, tracks: DATA.tracks };
  return Object.keys(VIEWS).filter((name) => there[name] ?? !(name in there));
}

function show() {
  const now = state(), pane = document.querySelector("main");
  const here = viewsHere(), view = here.includes(now.view) ? now.view : "queries";
  const { view: before, image: left } = pane.dataset;
  for (const name of Object.keys(VIEWS)) {
    byId(`view-${name}`).hidden = name !== view;
    const tab = document.querySelector(`nav a[data-view="${name}"]`);
    tab.hidden = !here.includes(name);
    tab.href = linkTo({ view: name });
    tab.setAttribute("aria-current", name === view ? "page" : "false"); // an empty value would mean false
  }
  Object.assign(pane.dataset, { view, image: now.image });
  showFilters(now);
  VIEWS[view](now);
  if (view === "ranking" && left !== now.image) byId("view-ranking").scrollTop = 0;
  if (view !== before || left !== now.image) window.scrollTo(0, 0); // in a narrow window, all views scroll as one
  if (view === "queries" && before === "ranking") byId("wall").querySelector(`[data-image="${Number(left)}"]`)?.focus();
  if (view === "map" && before !== "map") byId("map").focus(); // its keys work at once
  if (view === "labels" && before !== "labels") lookAt(Math.max(0, doubtOf(now)));
  document.body.dataset.shown = address(); // for tests: this address has been drawn
}

function answerKey(event) {
  const { key, target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (byId("help").open) return; // Escape closes it; no other key may change the page behind it
  if (target.matches("input, select")) {
    if (key === "Escape") target.blur();
    return;
  }
  const views = viewsHere();
  if (moveByArrow(event)) {
    // done
  } else if (views[Number(key) - 1]) {
    go({ view: views[Number(key) - 1] });
  } else if (state().view === "labels" && answerLabelKey(key)) {
    // done
  } else if (key === "n" || key === "p") {
    const link = state().view === "ranking" && byId(key === "n" ? "next" : "previous");
    if (link?.href) link.click();
  } else if (key === "l" && state().view === "map") {
    holdLasso(!marks.lasso);
  } else if (key === "/") {
    unfold(true);
    document.querySelector("#filters [name=person]").focus();
  } else if (key === "?") {
    byId("help").showModal();
  } else if (key === "Escape") {
    if (state().view !== "queries") go({ view: "queries" });
  } else {
    return;
  }
  event.preventDefault();
}

function answerClick(event) {
  writeAddress(); // a link may leave this page
  const link = event.target.closest("a[data-image]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  go({ view: "ranking", image: link.dataset.image });
}

function begin() {
  if (!document.body.dataset.needs.split(" ").every((name) => DATA[name])) {
    byId("failed").hidden = false;
    return;
  }
  prepareFilters();
  if (DATA.thresholds) prepareThresholds();
  if (DATA.labels) prepareLabels();
  if (DATA.tracks) prepareTracks();
  prepareMap();
  prepareMarks();
  history.scrollRestoration = "manual"; // the browser's own would race with show()
  window.addEventListener("hashchange", arrive);
  document.addEventListener("click", answerClick);
  document.addEventListener("keydown", answerKey);
  byId("ask").addEventListener("click", () => byId("help").showModal());
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  show();
  setTimeout(() => loadFeatures(() => {
    document.body.dataset.features = "loaded";
    if (state().view === "ranking" && !isQuery(imageOf(state()))) show();
  }), 50);
}

begin();

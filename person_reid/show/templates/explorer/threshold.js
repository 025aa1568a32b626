"use strict";
// A threshold, and what it accepts, rejects and gets wrong: counts of all pairs, the ROC, and the pairs nearest to it.

const PLOT = { width: 520, height: 260, left: 58, bottom: 50, top: 12, right: 26 };
const LEAST_RATE = 1e-5; // where the ROC begins; its axis is logarithmic
const SHOWN_PAIRS = 8;

// Conversion between positions in the histograms and similarities; pairs at or above the threshold's position are accepted.
const binOf = (threshold) => Math.min(DATA.thresholds.bins, Math.max(0, Math.ceil((threshold + 1) * DATA.thresholds.steps - 0.01)));
const edgeOf = (bin) => bin / DATA.thresholds.steps - 1;
const chosenThreshold = (now) => thresholdOf(now) ?? DATA.thresholds.rules.eer;

// genuine, impostor: how many pairs the threshold at each of bins + 1 positions accepts, as Python counts them.
function prepareThresholds() {
  const { bins, genuine, impostor } = DATA.thresholds;
  const full = (i) => genuine[i] > genuine[i + 1] || impostor[i] > impostor[i + 1];
  let low = 0, high = bins - 1;
  while (!full(low)) low++;
  while (!full(high)) high--;
  Object.assign(DATA.thresholds, { low, high: high + 1 });
  Object.assign(byId("slider"), { min: low, max: high + 1, step: Math.max(1, Math.round((high - low) / 1000)) });
  byId("slider").addEventListener("input", (event) => adjust({ threshold: edgeOf(event.target.value).toFixed(5) }));
  byId("exact").addEventListener("change", (event) => adjust({ threshold: event.target.value }));
  const rules = { eer: "equal error rate", "1e-3": "1 stranger in 1,000", "1e-4": "1 stranger in 10,000" };
  byId("rules").append(...Object.entries(DATA.thresholds.rules).map(([name, value]) => {
    const button = element("button", { className: "button", textContent: rules[name] });
    button.addEventListener("click", () => adjust({ threshold: value.toFixed(5) }));
    return button;
  }));
}

// Numbers of pairs and shares at a position.
function ratesAt(bin) {
  const { genuine, impostor } = DATA.thresholds, [right, wrong] = [genuine[bin], impostor[bin]];
  return {
    right, wrong, missed: genuine[0] - right, refused: impostor[0] - wrong,
    truePositives: right / genuine[0], falsePositives: wrong / impostor[0],
  };
}

function showThreshold(now) {
  const threshold = chosenThreshold(now), bin = binOf(threshold), rates = ratesAt(bin);
  byId("slider").value = bin;
  if (document.activeElement !== byId("exact")) byId("exact").value = threshold.toFixed(4);
  const cell = (id, number, share) => byId(id).replaceChildren(element("b", { textContent: count(number) }), ` ${percent(share)}\u00a0%`);
  cell("right-accepted", rates.right, rates.truePositives);
  cell("misses", rates.missed, 1 - rates.truePositives);
  cell("false-matches", rates.wrong, rates.falsePositives);
  cell("strangers-rejected", rates.refused, 1 - rates.falsePositives);
  if (!byId("roc").hasChildNodes()) {
    byId("histogram").append(...drawHistogram());
    byId("roc").append(...drawRoc());
  }
  const { low, high } = DATA.thresholds;
  const at = horizontal(low, high)(Math.min(high, Math.max(low, bin)));
  for (const end of ["x1", "x2"]) byId("mark").setAttribute(end, at);
  byId("point").setAttribute("cx", acrossRoc(rates.falsePositives));
  byId("point").setAttribute("cy", vertical(rates.truePositives));
  showPairs(threshold, rates.wrong);
}

// A scale from [from, to] to pixels.
const horizontal = (from, to) => (value) => PLOT.left + ((value - from) / (to - from)) * (PLOT.width - PLOT.left - PLOT.right);
const vertical = (share) => PLOT.height - PLOT.bottom - share * (PLOT.height - PLOT.bottom - PLOT.top);

function label(x, y, words, anchor = "middle") {
  return drawing("text", { x, y, "text-anchor": anchor }, words);
}

// Round numbers in [low, high], at most seven.
function roundTicks(low, high) {
  const step = [0.01, 0.02, 0.05, 0.1, 0.2, 0.25].find((each) => (high - low) / each <= 6) ?? 0.5, ticks = [];
  for (let i = Math.ceil(low / step); i <= high / step; i++) ticks.push(Number((i * step).toFixed(2)));
  return ticks;
}

function drawHistogram() {
  const { low, high, genuine, impostor } = DATA.thresholds;
  const bars = 120, x = horizontal(low, high), parts = [];
  for (const [counts, name] of [[impostor, "strangers"], [genuine, "same"]]) {
    const sums = new Float64Array(bars);
    for (let i = low; i < high; i++) sums[Math.floor(((i - low) * bars) / (high - low))] += counts[i] - counts[i + 1];
    const most = Math.max(...sums);
    const steps = Array.from(sums, (sum, i) => {
      const [left, right] = [i, i + 1].map((edge) => x(low + (edge * (high - low)) / bars).toFixed(1));
      return `${left} ${vertical(sum / most).toFixed(1)} L${right} ${vertical(sum / most).toFixed(1)}`;
    });
    parts.push(drawing("path", { class: name, d: `M${x(low)} ${vertical(0)} L${steps.join(" L")} L${x(high)} ${vertical(0)} Z` }));
  }
  for (const tick of roundTicks(edgeOf(low), edgeOf(high))) {
    parts.push(label(x((tick + 1) * DATA.thresholds.steps), PLOT.height - PLOT.bottom + 20, String(tick)));
  }
  parts.push(
    drawing("line", { class: "axis", x1: x(low), x2: x(high), y1: vertical(0), y2: vertical(0) }),
    drawing("line", { id: "mark", y1: vertical(1), y2: vertical(0) }),
    label(x((low + high) / 2), PLOT.height - 4, "cosine similarity"));
  return parts;
}

const acrossRoc = (rate) => horizontal(Math.log10(LEAST_RATE), 0)(Math.log10(Math.max(rate, LEAST_RATE)));

function drawRoc() {
  const x = horizontal(Math.log10(LEAST_RATE), 0);
  const { low, high } = DATA.thresholds, points = [], parts = [];
  for (let bin = low; bin <= high; bin++) {
    const { falsePositives, truePositives } = ratesAt(bin);
    const point = `${acrossRoc(falsePositives).toFixed(1)} ${vertical(truePositives).toFixed(1)}`;
    if (point !== points.at(-1)) points.push(point);
  }
  for (let power = Math.log10(LEAST_RATE); power <= 0; power++) {
    parts.push(
      drawing("line", { class: "grid", x1: x(power), x2: x(power), y1: vertical(1), y2: vertical(0) }),
      label(x(power), PLOT.height - PLOT.bottom + 20, `${10 ** (power + 2)} %`));
  }
  for (const share of [0, 0.25, 0.5, 0.75, 1]) {
    parts.push(
      drawing("line", { class: "grid", x1: x(Math.log10(LEAST_RATE)), x2: x(0), y1: vertical(share), y2: vertical(share) }),
      label(PLOT.left - 8, vertical(share) + 4, `${100 * share} %`, "end"));
  }
  parts.push(
    drawing("path", { class: "curve", d: `M${points.join(" L")}` }),
    drawing("circle", { id: "point", r: 7 }),
    label(x(Math.log10(LEAST_RATE) / 2), PLOT.height - 4, "strangers accepted (false matches)"));
  return parts;
}

// All right pairs, and the wrong pairs among the listed images, from different cameras, each as {query, image, order};
// order: places sorted by similarity.
function sortedPairs() {
  if (DATA.thresholds.pairs) return DATA.thresholds.pairs;
  const ranking = DATA.rankings[0], { queries, camera, person, junk } = DATA.images;
  const kinds = { right: [], wrong: [] };
  for (let query = 0; query < queries; query++) {
    for (let i = ranking.starts[query]; i < ranking.starts[query + 1]; i++) {
      kinds.right.push({ query, image: ranking.matches[i] + queries, similarity: ranking.matchSimilarities[i] });
    }
    if (person[query] === junk) continue;
    for (let i = query * ranking.width; i < (query + 1) * ranking.width; i++) {
      const image = ranking.listed[i] + queries;
      if (kindOf(query, image) !== "wrong" || (cameraOf(query) && camera[query] === camera[image])) continue;
      kinds.wrong.push({ query, image, similarity: ranking.similarities[i] });
    }
  }
  DATA.thresholds.pairs = {};
  for (const [kind, pairs] of Object.entries(kinds)) {
    DATA.thresholds.pairs[kind] = ascending(pairs.length, (place) => pairs[place].similarity).map((place) => pairs[place]);
  }
  return DATA.thresholds.pairs;
}

// The pairs nearest to the threshold: false matches just above it, as far as they are listed, and misses just below.
function showPairs(threshold, matches) {
  const { right, wrong } = sortedPairs();
  const split = (pairs) => lowerBound(pairs.length, (i) => pairs[i].similarity, threshold);
  const strips = {
    "false-pairs": wrong.slice(split(wrong), split(wrong) + SHOWN_PAIRS),
    "missed-pairs": right.slice(Math.max(0, split(right) - SHOWN_PAIRS), split(right)).reverse(),
  };
  const { width } = DATA.rankings[0], listed = wrong.length - split(wrong);
  byId("partial").textContent = listed < matches
    ? `Of ${count(matches)} false matches, the ${count(listed)} among the first ${width} images of their query are looked through.` : "";
  for (const [id, pairs] of Object.entries(strips)) {
    byId(id).replaceChildren(...pairs.map(({ query, image, similarity }) =>
      element("div", { className: "couple" },
        tile(query, "asked", [whoAndWhere(query)]),
        tile(image, kindOf(query, image), [whoAndWhere(image)]),
        element("span", { className: "line", textContent: similarity.toFixed(4) }))));
    if (!pairs.length) byId(id).append(element("p", { className: "faint", textContent: "None among the listed pairs." }));
  }
}

"use strict";
// Two rankings side by side, the queries that differ most in average precision first.

const COMPARED = 10; // images of each ranking

function showCompare(now) {
  const one = rankingOf(now);
  const two = besideOf(now) ?? DATA.rankings.find((ranking) => ranking !== one);
  const key = [choiceOf(now), now.beside, now.threshold].join("|");
  const pane = byId("pairs");
  if (!two || pane.dataset.key === key) return;
  pane.dataset.key = key;
  const gain = (query) => two.precision[query] - one.precision[query];
  const queries = [...chosenQueries(now)].sort((a, b) => Math.abs(gain(b)) - Math.abs(gain(a)));
  const better = queries.filter((query) => gain(query) > 0).length;
  const worse = queries.filter((query) => gain(query) < 0).length;
  byId("compared").textContent =
    `${one.name}: Rank@1 ${percent(one.figures.rank1)}, mAP ${percent(one.figures.mAP)} → ${two.name}: Rank@1 ` +
    `${percent(two.figures.rank1)}, mAP ${percent(two.figures.mAP)}. Higher AP: ${count(better)} queries, lower: ` +
    `${count(worse)}, same: ${count(queries.length - better - worse)}. The largest differences come first.`;
  fill(pane, queries.length, (i) => pairRow(queries[i], one, two, thresholdOf(now)), 12);
}

function pairRow(query, one, two, threshold) {
  const gain = two.precision[query] - one.precision[query];
  const sign = gain > 0 ? "+" : gain < 0 ? "−" : "±";
  const lines = [`${sign}${Math.abs(gain).toFixed(3)}`, whoAndWhere(query)];
  const row = element("article", { className: "pair" },
    tile(query, "asked", lines, `query ${query}`));
  for (const ranking of [one, two]) {
    const answer = storedAnswer(ranking, query);
    row.append(element("section", {},
      element("h3", { textContent: `${ranking.name}: AP ${answer.precision.toFixed(3)}` }),
      element("div", { className: "tiles" }, ...answerTiles(query, answer, threshold, COMPARED))));
  }
  return row;
}

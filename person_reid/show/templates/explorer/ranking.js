"use strict";
// The ranking of one image: the query, and the gallery, nearest first; a second ranking beside it if there is one.

function showRanking(now) {
  const asked = imageOf(now), threshold = thresholdOf(now);
  byId("asked").replaceChildren(...describeAsked(asked, now));
  const pane = byId("answers");
  if (!isQuery(asked)) {
    if (!featuresLoaded()) {
      pane.replaceChildren(element("p", { className: "faint", textContent: "Loading the features…" }));
      return;
    }
    const answer = computedAnswer(asked, DATA.rankings[0].width);
    const remark = "approximate: computed here, from features rounded to 8 bits";
    pane.replaceChildren(describeAnswer(DATA.rankings[0].name, asked, answer, threshold, remark));
    return;
  }
  const rankings = [rankingOf(now), besideOf(now)].filter(Boolean);
  pane.replaceChildren(
    ...rankings.map((ranking) => describeAnswer(ranking.name, asked, storedAnswer(ranking, asked), threshold)),
  );
}

function describeAsked(asked, now) {
  const neighbours = asked < wallLength() ? chosenQueries(now) : [];
  const place = neighbours.indexOf(asked);
  const step = (to, words, key) => {
    const image = neighbours[place + to];
    const link = element("a", { className: "button", textContent: words, title: `key ${key}` });
    if (place >= 0 && image !== undefined) link.href = linkTo({ image });
    link.id = to < 0 ? "previous" : "next";
    return link;
  };
  const facts = element("dl", {},
    ...fact("identity", personOf(asked) || "not known"), ...fact("camera", cameraOf(asked) || "not known"), ...fact("file", nameOf(asked)),
    ...furtherOf(asked).flatMap((pair) => fact(...pair)),
    ...(tagOf(asked) ? fact("tag", tagOf(asked)) : []));
  const only = element("a", { className: "button", textContent: `All ${inWords()} of this identity` });
  only.href = linkTo({ view: "queries", person: personOf(asked), camera: "", where: "", first: "", low: "", high: "" });
  only.hidden = !personOf(asked);
  const kind = isQuery(asked) ? "Query" : DATA.images.queries ? "Gallery image" : "Image";
  return [
    element("h2", { textContent: `${kind} ${isQuery(asked) ? asked : asked - DATA.images.queries}` }),
    element("div", { className: "large" }, photograph(asked)),
    facts,
    element("p", { className: "buttons" }, step(-1, "‹ Previous", "p"), step(1, "Next ›", "n"), only),
    ...(DATA.images.commands.length ? [ownPicture()] : []),
  ];
}

// How to search these images with another picture, which a network must process first.
const ownPicture = () => element("details", {},
  element("summary", { textContent: "Search with your own picture" }),
  element("p", { className: "faint", textContent: "In a terminal, in the folder from which this page was written:" }),
  ...DATA.images.commands.map((textContent) => element("code", { textContent })));

function describeAnswer(name, asked, answer, threshold, remark = "") {
  const about = remark ? "≈ " : "";
  const figures = [`AP ${about}${answer.precision.toFixed(4)}`, `INP ${about}${answer.penalty.toFixed(4)}`];
  const words = answer.count // images of unknown people may be right, so there are no metrics
    ? [...(DATA.images.unknown < 0 ? figures : []), `first match at ${answer.first + 1}`, `${answer.count} right in the gallery`]
    : [personOf(asked) && !DATA.tracks ? "no right image in the gallery" : ""];
  const made = element("section", { className: "answer" },
    element("h2", { textContent: name }),
    element("p", { className: "faint", textContent: [...words, remark].filter(Boolean).join(" · ") }));
  if (threshold !== undefined) made.append(element("p", { textContent: verdict(asked, answer, threshold) }));
  made.append(element("div", { className: "tiles" }, ...answerTiles(asked, answer, threshold)));
  if (answer.missed.length) {
    const late = answer.missed.map(({ image, rank, similarity }) =>
      tile(image, "right", [`✓ ${personOf(image)}`, [cameraShort(image), similarity.toFixed(3)].filter(Boolean).join(" · ")], rank + 1,
        threshold !== undefined && similarity < threshold));
    made.append(
      element("h3", { textContent: `Right images further down: ${late.length}` }),
      element("div", { className: "tiles" }, ...late));
  }
  return made;
}

// `7 of these are accepted: 5 right, 2 wrong; 3 right ones are rejected`
function verdict(asked, { listed, similarities, count, missed }, threshold) {
  const accepted = { right: missed.filter((match) => match.similarity >= threshold).length, wrong: 0, junk: 0, own: 0, unknown: 0 };
  listed.forEach((image, i) => {
    if (similarities[i] >= threshold) accepted[kindOf(asked, image)]++;
  });
  const { right, wrong, unknown } = accepted;
  if (DATA.tracks) return `At threshold ${threshold.toFixed(4)}, ${unknown} of these are accepted.`;
  return `At threshold ${threshold.toFixed(4)}, ${right + wrong} of these are accepted: ${right} right, ${wrong} wrong; ` +
    `${count - right} right are rejected.`;
}

"use strict";
// The defaults of the address, and what it shows.

// Colours can distinguish only a few people; for many, errors or cameras are more informative.
const FEW = 40;
function usualColour() {
  const { people, junk, distractor, unknown, queries, cameras } = DATA.images ?? { people: [] };
  const known = people.filter((_, person) => ![junk, distractor, unknown].includes(person)).length;
  if (known <= FEW) return "identity";
  return queries ? "error" : cameras.some(Boolean) ? "camera" : "identity";
}

const DEFAULTS = {
  view: DATA.labels ? "labels" : DATA.tracks ? "tracks" : "queries", image: "0", by: "0", beside: "", sort: "worst", colour: usualColour(), place: "",
  person: "", camera: "", where: "", tag: "", first: "", low: "", high: "", threshold: "", proposal: "", decision: "", doubt: "",
};

// The shown ranking, and the ranking beside it, or undefined.
const rankingOf = (now) => DATA.rankings[now.by] ?? DATA.rankings[0];
const besideOf = (now) => (now.beside === "" ? undefined : DATA.rankings[now.beside]);

// The image in the address, or the first one.
function imageOf(now) {
  const image = Number(now.image);
  return Number.isInteger(image) && image >= 0 && image < DATA.images.names.length ? image : 0;
}

// The threshold in the address, or undefined.
function thresholdOf(now) {
  const value = Number(now.threshold);
  return now.threshold === "" || !Number.isFinite(value) ? undefined : value;
}

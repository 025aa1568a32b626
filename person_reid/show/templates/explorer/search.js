"use strict";
// The ranking of an image that is not a query. Its cosines are approximate, because features are rounded to 8 bits.

// Loads the features, one script after another, and calls done() when all are loaded.
function loadFeatures(done, number = 0) {
  if (number === DATA.images.pieces) return done();
  if (DATA.features[number]) return loadFeatures(done, number + 1); // a page in one file has them already
  const script = document.createElement("script");
  script.src = `data/features_${number}.js`;
  script.onload = () => {
    script.remove();
    setTimeout(() => loadFeatures(done, number + 1)); // the page answers in between
  };
  script.onerror = () => (byId("failed").hidden = false);
  document.head.append(script);
}

const featuresLoaded = () => DATA.features.length === DATA.images.pieces && !DATA.features.includes(undefined);

// Returns the similarities (Float32Array) of an image with the gallery.
function similaritiesWith(asked) {
  const { queries, piece, names } = DATA.images;
  const own = DATA.features[Math.floor(asked / piece)];
  const size = own.dimension, place = asked % piece;
  const feature = own.values.subarray(place * size, (place + 1) * size);
  const found = new Float32Array(names.length - queries);
  for (let image = queries; image < names.length; image++) {
    const { values, scales } = DATA.features[Math.floor(image / piece)];
    const row = image % piece, start = row * size;
    let sum = 0;
    for (let i = 0; i < size; i++) sum = (sum + feature[i] * values[start + i]) | 0; // whole numbers are fast
    found[image - queries] = sum * scales[row] * own.scales[place];
  }
  return found;
}

// Returns what storedAnswer does, for any image; the image itself is skipped.
function computedAnswer(asked, width) {
  const { queries } = DATA.images;
  const similarities = similaritiesWith(asked);
  const order = ascending(similarities.length, (position) => -similarities[position]);
  const all = order.map((position) => position + queries).filter((image) => image !== asked);
  const matches = [];
  let rank = 0;
  for (const image of all) {
    const kind = kindOf(asked, image);
    if (kind === "right") matches.push({ image, rank, similarity: similarities[image - queries] });
    if (isCounted(kind)) rank++;
  }
  const listed = all.slice(0, width), shown = new Set(listed);
  const precisions = matches.map((match, before) => ((match.rank ? before / match.rank : 1) + (before + 1) / (match.rank + 1)) / 2);
  return {
    listed,
    missed: matches.filter((match) => !shown.has(match.image)),
    similarities: listed.map((image) => similarities[image - queries]),
    count: matches.length,
    precision: matches.length ? precisions.reduce((sum, value) => sum + value) / matches.length : 0,
    penalty: matches.length ? matches.length / (matches.at(-1).rank + 1) : 0,
    first: matches.length ? matches[0].rank : -1,
  };
}

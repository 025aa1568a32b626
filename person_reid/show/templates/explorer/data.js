"use strict";
// The content of the scripts in data/, and functions for all views. Images are numbered: the queries, then the gallery.

const DATA = { features: [] };

// Called by every script in data/.
function receive(name, content) {
  if (name === "features") {
    DATA.features[content.number] = unpacked(content);
  } else {
    DATA[name] = Array.isArray(content) ? content.map(unpacked) : unpacked(content);
  }
}

// Returns an object with typed arrays in place of {type, base64}.
function unpacked(content) {
  const found = {};
  for (const [name, value] of Object.entries(content)) {
    found[name] = value && value.base64 !== undefined ? typedArray(value) : value;
  }
  return found;
}

function typedArray({ type, base64 }) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return new { Float32Array, Float64Array, Int8Array, Int32Array, Uint16Array, Uint32Array }[type](bytes.buffer);
}

const isQuery = (image) => image < DATA.images.queries;
const personOf = (image) => DATA.images.people[DATA.images.person[image]];
const cameraOf = (image) => DATA.images.cameras[DATA.images.camera[image]];
const nameOf = (image) => DATA.images.names[image];

// The further columns of an image, as pairs of name and value, and as `store=3`.
const furtherOf = (image) => Object.entries(DATA.images.further[image] ?? {});
const pairsOf = (image) => furtherOf(image).map((pair) => pair.join("="));

// The images on the wall: the queries, or all images if there are no queries.
const wallLength = () => DATA.images.queries || DATA.images.names.length;
const inWords = (number) => (DATA.images.queries ? (number === 1 ? "query" : "queries") : number === 1 ? "image" : "images");

// The caption of an image, such as `0012 · c3`, without unknown parts.
const whoAndWhere = (image) => [personOf(image), cameraShort(image)].filter(Boolean).join(" · ");

// `c3` for camera 3; a camera with a name, such as hall, gets its name.
const cameraShort = (image) => (/^\d+$/.test(cameraOf(image)) ? `c${cameraOf(image)}` : cameraOf(image));

// "right", "wrong" or "unknown"; or "junk" or "own" (the same person by the same camera), which no metric counts, as in
// person_reid/retrieval/metrics.py. On the page of across.py, identities are computed, so all are unknown.
function kindOf(asked, image) {
  if (DATA.tracks) return "unknown";
  const { person, camera, junk, distractor, unknown } = DATA.images;
  if (person[image] === junk) return "junk";
  if (person[image] === unknown || person[asked] === unknown) return "unknown";
  if (person[image] === distractor && person[asked] === distractor && !isQuery(asked)) return "unknown"; // two strangers
  if (person[asked] !== person[image]) return "wrong";
  return camera[asked] === camera[image] && cameraOf(image) ? "own" : "right";
}

const UNCOUNTED = { junk: "junk", own: "own camera" }; // shown in place of a rank
const isCounted = (kind) => !(kind in UNCOUNTED);

// A query's ranking as Python computed it: {listed, similarities, missed, count, precision, penalty, first}.
// missed: the right images beyond the listed ones, as {image, rank, similarity}; first: a rank from 0, or -1.
function storedAnswer(ranking, query) {
  const { queries } = DATA.images;
  const part = [query * ranking.width, (query + 1) * ranking.width];
  const listed = Array.from(ranking.listed.subarray(...part), (position) => position + queries);
  const shown = new Set(listed);
  const missed = [];
  for (let i = ranking.starts[query]; i < ranking.starts[query + 1]; i++) {
    const image = ranking.matches[i] + queries;
    if (!shown.has(image)) missed.push({ image, rank: ranking.ranks[i], similarity: ranking.matchSimilarities[i] });
  }
  return {
    listed, missed,
    similarities: ranking.similarities.subarray(...part),
    count: ranking.starts[query + 1] - ranking.starts[query],
    precision: ranking.precision[query],
    penalty: ranking.penalty[query],
    first: ranking.first[query],
  };
}

// The place in a ranking's list of the first image that counts, or -1.
function firstAnswer(ranking, query) {
  for (let i = query * ranking.width; i < (query + 1) * ranking.width; i++) {
    if (isCounted(kindOf(query, ranking.listed[i] + DATA.images.queries))) return i;
  }
  return -1;
}

// Returns the places 0…length - 1 by ascending value(place), a number from -1 to 1. Plain numbers sort ten times as fast as
// with a comparison function: each holds the value, in steps of 2^-24, and the place in its lower digits.
function ascending(length, value) {
  const keys = Float64Array.from({ length }, (_, place) => Math.round((value(place) + 2) * 2 ** 24) * 2 ** 24 + place);
  return Array.from(keys.sort(), (key) => key % 2 ** 24);
}

// The position of the first of `length` positions at which ascending `at(position)` reaches a value.
function lowerBound(length, at, value) {
  let low = 0, high = length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (at(middle) < value) low = middle + 1; else high = middle;
  }
  return low;
}

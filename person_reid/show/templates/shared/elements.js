"use strict";
// The pieces of which views consist. Text is always set as text: a file's name is never read as HTML.

const byId = (id) => document.getElementById(id);
const percent = (share) => (100 * share).toFixed(2);
const count = (number) => number.toLocaleString("en");

// element("p", {className: "faint"}, "text", child): an element with these properties and children.
function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

const SVG = "http://www.w3.org/2000/svg";
function drawing(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// Fills a container during scrolling: more() returns the next items, or a promise of them; no items mean the end.
function grow(container, more) {
  container.filling?.disconnect();
  const end = element("div", { className: "end" });
  const filling = new IntersectionObserver((seen) => seen.some((entry) => entry.isIntersecting) && next(), { rootMargin: "600px" });
  const put = (items) => {
    if (container.filling !== filling) return; // it now shows something else
    end.before(...items);
    if (items.length) filling.observe(end); // anew: on a large screen the end may still be in sight
  };
  const next = () => {
    filling.unobserve(end);
    const items = more();
    if (items instanceof Promise) return items.then(put);
    put(items);
  };
  Object.assign(container, { filling, more: next });
  container.replaceChildren(end);
  return next();
}

// Fills a container with make(i) for i in 0…length - 1, a batch at a time.
function fill(container, length, make, batch) {
  let made = 0;
  grow(container, () => {
    const items = [];
    for (const stop = Math.min(length, made + batch); made < stop;) items.push(make(made++));
    return items;
  });
}

// A line in a list of facts.
const fact = (name, value) => [element("dt", { textContent: name }), element("dd", { textContent: value })];

// Moves the focus between tiles, or to the first tile of the view. Returns false for other keys, and without tiles.
function moveByArrow({ key, target }) {
  if (!key.startsWith("Arrow")) return false;
  const first = () => document.querySelector("main > section:not([hidden]) a.tile");
  const next = target.matches("a.tile") ? tileBeside(target, key) : target === document.body && first();
  if (!next) return false;
  next.focus();
  next.scrollIntoView({ block: "nearest" });
  return true;
}

function tileBeside(from, key) {
  const tiles = [...from.closest("section").querySelectorAll("a.tile")];
  const place = tiles.indexOf(from), box = from.getBoundingClientRect();
  if (key === "ArrowLeft" || key === "ArrowRight") return tiles[place + (key === "ArrowLeft" ? -1 : 1)];
  const down = key === "ArrowDown";
  const candidates = (down ? tiles.slice(place + 1) : tiles.slice(0, place).reverse()).map((tile) => [tile, tile.getBoundingClientRect()]);
  const row = candidates.find(([, { top }]) => (down ? top > box.top + 5 : top < box.top - 5));
  if (!row) return undefined;
  const inRow = candidates.filter(([, { top }]) => Math.abs(top - row[1].top) < 5);
  return inRow.sort(([, a], [, b]) => Math.abs(a.left - box.left) - Math.abs(b.left - box.left))[0][0];
}

// The first and the last second of tracks or sightings, and their times as text.
function spanOfAll(all) {
  const [from] = all.toSorted((a, b) => a.first - b.first), [to] = all.toSorted((a, b) => b.last - a.last);
  return [from.first, to.last, from.times[0], to.times[1]];
}

// A line for each camera, with bars that show when the person was there, and a time axis. See spanOfAll.
function lanes(tracks, cameras, start, end, from, to) {
  const share = (seconds) => `${(100 * (seconds - start)) / Math.max(end - start, 1e-3)}%`;
  return element("div", { className: "lanes" }, ...cameras.flatMap((camera) => {
    const bars = tracks.filter((track) => track.camera === camera).map((track) => {
      const bar = element("span", { className: "bar-of-track", title: `${track.name}: ${spanOf(track)}` });
      bar.style.left = share(track.first);
      bar.style.width = share(start + track.last - track.first);
      return bar;
    });
    return [element("span", { className: "faint", textContent: camera && `camera ${camera}` }), element("div", { className: "lane" }, ...bars)];
  }), element("span"), element("div", { className: "axis faint" }, ...[from, to].map((time) => element("span", { textContent: shortTime(time) }))));
}

// "2026-11-01 09:30:00" of a time with more digits, or seconds of the video.
const shortTime = (time) => (time.includes(":") ? time.replace(/\.\d.*$/, "") : `${time} s`);

// "2026-11-01 09:30:00 to 09:30:12", or seconds of the video.
function spanOf({ times }) {
  const [first, last] = times.map(shortTime);
  if (first === last) return first;
  return `${first} to ${first.slice(0, 11) === last.slice(0, 11) && first.includes(":") ? last.slice(11) : last}`;
}

const counted = (number, one, several) => `${count(number)} ${number === 1 ? one : several}`;

"use strict";
// The map: a point for each image. Points are close together if the network finds the images similar.

const SIDE = 65535; // side of the square that holds the points
const REACH = 12; // pixels from the pointer to a point
const map = { image: -1, dragged: null };

// The visible part of the square: its centre and magnification.
function placeOf(now) {
  const [x, y, zoom] = now.place.split(",").map(Number);
  return Number.isFinite(zoom) && zoom > 0 ? { x, y, zoom } : { x: SIDE / 2, y: SIDE / 2, zoom: 1 };
}

const written = ({ x, y, zoom }) => `${Math.round(x)},${Math.round(y)},${Number(zoom.toFixed(3))}`;

// Returns how many pixels a unit of the square takes.
const scaleOf = (canvas, zoom) => (0.94 * zoom * Math.min(canvas.clientWidth, canvas.clientHeight)) / SIDE;

function showMap(now) {
  const canvas = byId("map"), place = placeOf(now), passes = filterOf(now), groups = new Map();
  const dense = window.devicePixelRatio || 1;
  Object.assign(canvas, { width: canvas.clientWidth * dense, height: canvas.clientHeight * dense });
  const pen = canvas.getContext("2d");
  pen.setTransform(dense, 0, 0, dense, canvas.width / 2, canvas.height / 2);
  const colour = colourOf(now.colour), scale = scaleOf(canvas, place.zoom), { points, names } = DATA.images;
  const radius = Math.min(7, (names.length < 3000 ? 3 : 1.5) * Math.sqrt(place.zoom));
  let chosen = 0;
  for (let image = names.length - 1; image >= 0; image--) {
    const passed = passes(image);
    chosen += passed;
    const tone = passed ? colour(image) : "hidden";
    if (!groups.has(tone)) groups.set(tone, []);
    groups.get(tone).push(image);
  }
  const quiet = getComputedStyle(canvas).getPropertyValue("--quiet");
  const faintFirst = [...groups].sort(([a], [b]) => (b === "hidden") - (a === "hidden") || (b === quiet) - (a === quiet));
  for (const [tone, images] of faintFirst) {
    pen.fillStyle = tone === "hidden" ? quiet : tone;
    pen.globalAlpha = tone === "hidden" ? 0.35 : 1;
    pen.beginPath();
    for (const image of images) {
      const x = (points[2 * image] - place.x) * scale, y = (points[2 * image + 1] - place.y) * scale;
      const size = isQuery(image) ? 1.35 * radius : radius;
      pen.moveTo(x + size, y);
      pen.arc(x, y, size, 0, 2 * Math.PI);
    }
    pen.fill();
  }
  Object.assign(pen, { strokeStyle: getComputedStyle(canvas).color, lineWidth: 0.7 });
  for (const image of marks.selected) {
    pen.beginPath();
    pen.arc((points[2 * image] - place.x) * scale, (points[2 * image + 1] - place.y) * scale, 1.35 * radius + 1, 0, 2 * Math.PI);
    pen.stroke();
  }
  byId("colour").value = now.colour;
  const { method } = DATA.images;
  const images = `${count(chosen)} ${chosen === 1 ? "image" : "images"}`;
  byId("legend").textContent =
    `${images} by ${method}: near means similar, far means little. ${LEGENDS[now.colour] ?? ""}`;
  map.now = now;
}

const LEGENDS = {
  identity: "Colours repeat after ten identities; distractors, junk and unknown people are grey." +
    (DATA.images?.queries ? " Queries are larger." : ""),
  camera: "One colour for each camera.",
  tag: "One colour for each tag; images without one are grey.",
  error: "Queries are green if their first answer is right, else red. Red gallery images are a wrong first answer.",
};

// Returns the function image → colour for a way to colour the map.
function colourOf(way) {
  const { person, camera, junk, distractor, unknown, palette, queries } = DATA.images;
  const style = getComputedStyle(document.documentElement);
  const [right, wrong, quiet] = ["--right", "--wrong", "--quiet"].map((name) => style.getPropertyValue(name));
  if (way === "camera") return (image) => palette[camera[image] % palette.length];
  if (way === "tag") {
    const tags = tagsHere();
    return (image) => (tagOf(image) ? palette[tags.indexOf(tagOf(image)) % palette.length] : quiet);
  }
  if (way === "error") {
    const ranking = rankingOf(state()), mistaken = new Set();
    for (let query = 0; query < queries; query++) {
      const place = firstAnswer(ranking, query);
      if (ranking.first[query] !== 0 && place >= 0) mistaken.add(ranking.listed[place] + queries);
    }
    return (image) => (isQuery(image) ? (ranking.first[image] === 0 ? right : wrong) : mistaken.has(image) ? wrong : quiet);
  }
  return (image) => ([junk, distractor, unknown].includes(person[image]) ? quiet : palette[person[image] % palette.length]);
}

// The images inside a polygon of positions in the canvas.
function imagesWithin(corners) {
  const canvas = byId("map"), place = placeOf(map.now), scale = scaleOf(canvas, place.zoom), { points, names } = DATA.images;
  const pen = document.createElement("canvas").getContext("2d"), passes = filterOf(map.now);
  for (const [x, y] of corners) pen.lineTo(x, y);
  return Array.from(names.keys()).filter((image) => passes(image) && pen.isPointInPath(
    (points[2 * image] - place.x) * scale + canvas.clientWidth / 2, (points[2 * image + 1] - place.y) * scale + canvas.clientHeight / 2));
}

function drawLasso(corners) {
  byId("noose").setAttribute("points", corners.join(" "));
}

// Returns the image nearest to a position in the canvas, or -1 if none is within reach.
function imageAt(x, y, reach = REACH) {
  const canvas = byId("map"), place = placeOf(map.now), scale = scaleOf(canvas, place.zoom), { points, names } = DATA.images;
  const across = (x - canvas.clientWidth / 2) / scale + place.x, down = (y - canvas.clientHeight / 2) / scale + place.y;
  const passes = filterOf(map.now);
  let best = -1, least = (reach / scale) ** 2;
  for (let image = 0; image < names.length; image++) {
    const distance = (points[2 * image] - across) ** 2 + (points[2 * image + 1] - down) ** 2;
    if (distance < least && passes(image)) [best, least] = [image, distance];
  }
  return best;
}

function showHint(image, x, y) {
  const hint = byId("hint");
  map.image = image;
  hint.hidden = image < 0;
  byId("map").style.cursor = image < 0 ? "grab" : "pointer";
  if (image < 0) return;
  const role = isQuery(image) ? `AP ${rankingOf(map.now).precision[image].toFixed(3)}` : DATA.images.queries ? "gallery" : "";
  const lines = [personOf(image), cameraOf(image) && `camera ${cameraOf(image)}`, role, tagOf(image)].filter(Boolean);
  hint.replaceChildren(photograph(image), ...lines.map((textContent) => element("span", { className: "line", textContent })));
  const canvas = byId("map");
  hint.style.left = `${Math.min(x + 14, canvas.clientWidth - 110)}px`;
  hint.style.top = `${Math.max(4, Math.min(y + 14, canvas.clientHeight - 250))}px`;
}

// Enlarges the map; the point at (x, y), from the canvas's centre, stays where it is.
function zoomBy(factor, x = 0, y = 0) {
  const place = placeOf(map.now), zoom = Math.min(200, Math.max(0.5, place.zoom * factor));
  const before = scaleOf(byId("map"), place.zoom), after = scaleOf(byId("map"), zoom);
  adjust({ place: written({ x: place.x + x / before - x / after, y: place.y + y / before - y / after, zoom }) });
}

function moveBy(x, y) {
  const place = placeOf(map.now), scale = scaleOf(byId("map"), place.zoom);
  adjust({ place: written({ ...place, x: place.x - x / scale, y: place.y - y / scale }) });
}

function prepareMap() {
  const canvas = byId("map");
  byId("colour").addEventListener("change", (event) => adjust({ colour: event.target.value }));
  byId("whole").addEventListener("click", () => adjust({ place: "" }));
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const { offsetX, offsetY } = event;
    zoomBy(Math.exp(-event.deltaY / 400), offsetX - canvas.clientWidth / 2, offsetY - canvas.clientHeight / 2);
  }, { passive: false });
  canvas.addEventListener("pointerdown", (event) => {
    const corners = marks.lasso ? [[event.offsetX, event.offsetY]] : null;
    map.dragged = { x: event.clientX, y: event.clientY, far: false, corners };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!map.dragged) return showHint(imageAt(event.offsetX, event.offsetY), event.offsetX, event.offsetY);
    const [x, y] = [event.clientX - map.dragged.x, event.clientY - map.dragged.y];
    if (!map.dragged.far && Math.hypot(x, y) < 4) return;
    const { corners } = map.dragged;
    map.dragged = { x: event.clientX, y: event.clientY, far: true, corners };
    showHint(-1);
    if (!corners) return moveBy(x, y);
    corners.push([event.offsetX, event.offsetY]);
    drawLasso(corners);
  });
  canvas.addEventListener("pointerup", (event) => {
    const { far, corners } = map.dragged ?? {};
    map.dragged = null;
    drawLasso([]);
    if (far && corners) return select(imagesWithin(corners), event.shiftKey);
    const image = imageAt(event.offsetX, event.offsetY);
    if (!far && image >= 0) go({ view: "ranking", image });
  });
  for (const name of ["pointerleave", "blur"]) canvas.addEventListener(name, () => showHint(-1));
  canvas.addEventListener("keydown", (event) => {
    const [x, y] = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] }[event.key] ?? [];
    if (x !== undefined) moveBy(x, y);
    else if (event.key === "+" || event.key === "=") zoomBy(1.4);
    else if (event.key === "-") zoomBy(1 / 1.4);
    else if (event.key === "Enter" && map.image >= 0) return go({ view: "ranking", image: map.image });
    else return;
    event.preventDefault();
    const [middle, centre] = [canvas.clientWidth / 2, canvas.clientHeight / 2];
    showHint(imageAt(middle, centre, 80), middle, centre); // the keyboard looks at the centre
  });
  new ResizeObserver(() => !byId("view-map").hidden && showMap(state())).observe(canvas);
}

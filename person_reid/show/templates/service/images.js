"use strict";
// Images of the gallery: their tiles, the wall of all images, and the filters.

// The filters, as the service names them.
function filters(now) {
  const instant = (local) => (local && !Number.isNaN(Date.parse(local)) ? new Date(local).toISOString() : "");
  return { identity: now.person.trim(), camera: now.camera, where: now.where.trim(), after: instant(now.after), before: instant(now.before) };
}

// The local time, "2026-11-01 09:30:00", for a time from the service or seconds since 1970.
const localTime = (time) => new Date(typeof time === "number" ? 1000 * time : time.replace(" ", "T")).toLocaleString("sv-SE");
const cameraWords = (camera) => (camera ? `camera ${camera}` : "");

// A framed photograph that links to similar images. kind: "asked", "right" or "own"; lines: its caption.
function tile(image, kind, lines, above = "", faint = false) {
  const made = element("a", { className: `tile ${kind}${faint ? " faded" : ""}`, href: linkTo({ view: "ranking", image }) });
  if (above !== "") made.append(element("span", { className: "above", textContent: above }));
  made.append(photograph(image), ...lines.map((line) => element("span", { className: "line", textContent: line, title: line })));
  if (!lines.length) made.setAttribute("aria-label", "an image");
  return made;
}

const captionOf = ({ identity, camera, time }) =>
  [identity ?? "not named", cameraWords(camera), time ? localTime(time).slice(5, 19) : ""].filter(Boolean);

function showImages(now) {
  const wall = byId("wall");
  if (!changed(wall, filters(now))) return;
  let start = "";
  grow(wall, async () => {
    if (start === null) return [];
    const page = await attempt(() => ask("GET", "images", { ...filters(now), start, limit: 60 }));
    const images = page?.images ?? [];
    if (!start && !images.length) wall.prepend(element("p", { className: "faint end", textContent: "No images." }));
    start = page?.next ?? null;
    return images.map((each) => tile(each.id, "asked", captionOf(each)));
  });
}

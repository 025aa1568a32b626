"use strict";
// The tiles of the explorer, and the files and values that a person or this browser saves.

// The photograph of an image: a part of a sheet, which the browser loads once it is in sight.
function photograph(image) {
  const { columns, rows } = DATA.images;
  const sheet = Math.floor(image / (columns * rows)), place = image % (columns * rows);
  const photo = element("span", { className: `photo sheet${sheet}` }); // see sheets.css
  photo.style.backgroundSize = `${100 * columns}% ${100 * rows}%`;
  const column = place % columns, row = Math.floor(place / columns);
  photo.style.backgroundPosition = `${(100 * column) / (columns - 1)}% ${(100 * row) / (rows - 1)}%`;
  return photo;
}

// A framed photograph that leads to the image's ranking. kind: "asked", or as kindOf returns it; lines: its caption.
function tile(image, kind, lines, above = "", faint = false) {
  const made = element("a", { className: `tile ${kind}${faint ? " faded" : ""}`, href: linkTo({ view: "ranking", image }) });
  made.dataset.image = image;
  made.title = nameOf(image);
  if (above !== "") made.append(element("span", { className: "above", textContent: above }));
  made.append(photograph(image));
  for (const line of lines) made.append(element("span", { className: "line", textContent: line }));
  made.setAttribute("aria-label", [...new Set([above, UNCOUNTED[kind] ?? kind, ...lines])].filter(String).join(", "));
  return made;
}

const MARKS = { right: "✓ ", wrong: "✗ ", junk: "", own: "", asked: "", unknown: "" };

// The tiles of a ranking; those below the threshold, if there is one, are faded.
function answerTiles(asked, { listed, similarities }, threshold, most = Infinity) {
  const tiles = [];
  let rank = 0;
  for (let i = 0; i < listed.length && rank < most; i++) {
    const kind = kindOf(asked, listed[i]);
    const lines = [MARKS[kind] + personOf(listed[i]), [cameraShort(listed[i]), similarities[i].toFixed(3)].filter(Boolean).join(" · ")].filter(Boolean);
    const above = UNCOUNTED[kind] ?? ++rank;
    tiles.push(tile(listed[i], kind, lines, above, threshold !== undefined && similarities[i] < threshold));
  }
  return tiles;
}

// Like `harmless` in person_reid/files.py: a spreadsheet would compute text that begins like a formula.
const harmless = (text) => (/^'*(?:[=+@\t\r\n]|-(?![0-9.]*$))/.test(text) ? `'${text}` : text);

// Offers a table, rows of cells, as a CSV file.
function download(name, rows) {
  const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const text = rows.map((row) => row.map(String).map(harmless).map(quoted).join(",") + "\r\n").join("");
  const link = element("a", { download: name, href: URL.createObjectURL(new Blob([text], { type: "text/csv" })) });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// Stores a value in this browser. If that fails, the page shows a message, and asks before it is closed.
function keep(name, value) {
  try {
    localStorage.setItem(`person-reid-explorer ${name}`, JSON.stringify(value));
  } catch {
    for (const warning of document.querySelectorAll(".unkept")) warning.hidden = false;
    window.onbeforeunload = (event) => event.preventDefault();
  }
}

// The value that this browser stored, or null.
function kept(name) {
  try {
    return JSON.parse(localStorage.getItem(`person-reid-explorer ${name}`));
  } catch {
    return null;
  }
}

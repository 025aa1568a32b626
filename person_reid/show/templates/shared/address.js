"use strict";
// What is shown, all of it in the address: #view=ranking&image=12. Every change goes through `go` or `adjust`.
// The page has DEFAULTS, which names all that an address can say, and show().

// A browser refuses more than 100 or 200 changes of the address in ten seconds, and a slider makes 60 a second. So the
// address may be behind what is shown, `ahead`, for a moment.
const REST = 300; // milliseconds between two changes
let ahead = null, resting = null;
const address = () => ahead ?? location.hash;

function state() {
  const given = new URLSearchParams(address().slice(1));
  return Object.fromEntries(Object.entries(DEFAULTS).map(([name, value]) => [name, given.get(name) ?? value]));
}

// The address of what is shown now, but for these changes.
function linkTo(changes) {
  const wanted = new URLSearchParams();
  for (const [name, value] of Object.entries({ ...state(), ...changes })) {
    if (String(value) !== DEFAULTS[name]) wanted.set(name, value);
  }
  return `#${wanted}`;
}

// Shows something else; the browser's "back" returns from it.
function go(changes) {
  const link = linkTo(changes);
  writeAddress(); // where "back" returns to
  location.hash = link; // the event hashchange calls `arrive`
}

// Shows what the address says since a link, the browser's "back" or a person changed it.
function arrive() {
  ahead = null;
  show();
}

// Shows the same in another way, as a slider does while it moves: no step for "back".
function adjust(changes) {
  ahead = linkTo(changes);
  if (resting === null) writeAddress();
  show();
}

function writeAddress() {
  if (ahead === null) return;
  history.replaceState(null, "", ahead);
  ahead = null;
  clearTimeout(resting);
  resting = setTimeout(() => {
    resting = null;
    writeAddress();
  }, REST);
}

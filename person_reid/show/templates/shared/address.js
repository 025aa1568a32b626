"use strict";
// The address determines all that is shown: #view=ranking&image=12. Every change goes through `go` or `adjust`.
// The page defines DEFAULTS, which names everything that an address can contain, and show().

// A browser rejects more than 100 or 200 changes of the address in ten seconds, and a slider makes 60 per second. The
// address may therefore lag behind what is shown, `ahead`, for a moment.
const REST = 300; // milliseconds between two changes
let ahead = null, resting = null;
const address = () => ahead ?? location.hash;

function state() {
  const given = new URLSearchParams(address().slice(1));
  return Object.fromEntries(Object.entries(DEFAULTS).map(([name, value]) => [name, given.get(name) ?? value]));
}

// The address of what is shown now, with these changes.
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

// Shows what the address contains after a link, the browser's "back" or a person changed it.
function arrive() {
  ahead = null;
  show();
}

// Shows the same content in another way, as a moving slider does, without a step for "back".
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

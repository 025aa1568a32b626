"use strict";
// Calls the service as any other program does: through /v1, with a token.

const TOKEN = "person-reid token";
const KEPT_PICTURES = 400, TILE = 512; // pixels of a tile's longer side on a fine screen

// Removes the token from the address, where others could read it, and keeps it for as long as this tab is open.
function takeToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!given) return;
  sessionStorage.setItem(TOKEN, given);
  history.replaceState(null, "", location.pathname);
}

// Returns the answer to a request; asks for a token if a valid one is missing. Throws an Error with the service's message.
async function send(method, path, parameters = {}, body = undefined, further = {}) {
  const given = Object.entries(parameters).filter(([, value]) => value !== "");
  const headers = { Authorization: `Bearer ${sessionStorage.getItem(TOKEN) ?? ""}`, ...further };
  const raw = body === undefined || body instanceof Blob;
  headers["Content-Type"] = raw ? body?.type || "application/octet-stream" : "application/json";
  const address = `v1/${path}${given.length ? `?${new URLSearchParams(given)}` : ""}`;
  let answer;
  try {
    answer = await fetch(address, { method, headers, body: raw ? body : JSON.stringify(body) });
  } catch {
    throw new Error("The service does not answer. Is it running?");
  }
  if (answer.status === 401) {
    await enterToken();
    return send(method, path, parameters, body, further);
  }
  if (answer.ok) return answer;
  const problem = await answer.json();
  throw Object.assign(new Error(problem.detail), { status: answer.status });
}

const ask = async (...request) => (await send(...request)).json();

let entering = null; // one prompt for all waiting requests
function enterToken() {
  entering ??= question("A token of this service: the one that it printed, or one from the file given by --tokens:", "Continue", "").then((token) => {
    entering = null;
    if (!token) throw new Error("Without a token, nothing is shown. Reload the page.");
    sessionStorage.setItem(TOKEN, token.trim());
  });
  return entering;
}

// The most recently fetched pictures, as promises of addresses.
const pictures = new Map();

function pictureOf(image) {
  if (!pictures.has(image)) {
    pictures.set(image, send("GET", `images/${image}/picture`, { size: TILE }).then((answer) => answer.blob()).then((blob) => URL.createObjectURL(blob)));
    const [oldest, address] = pictures.entries().next().value;
    if (pictures.size > KEPT_PICTURES) {
      pictures.delete(oldest);
      address.then(URL.revokeObjectURL, () => {});
    }
  }
  return pictures.get(image);
}

const inSight = new IntersectionObserver((seen) => {
  for (const { target, isIntersecting } of seen) {
    if (!isIntersecting) continue;
    inSight.unobserve(target);
    pictureOf(target.dataset.picture).then((address) => (target.src = address), () => (target.alt = "no picture"));
  }
}, { rootMargin: "400px" });

// The photograph of an image, which is fetched once it is visible.
function photograph(image) {
  const photo = element("img", { className: "photo", alt: "" });
  photo.dataset.picture = image;
  inSight.observe(photo);
  return photo;
}

// Does something that the service may reject, and shows its message in that case.
async function attempt(act) {
  try {
    return await act();
  } catch (error) {
    tell(error.message, true);
    return undefined;
  }
}

let silence = null;
function tell(text, bad = false) {
  const said = byId("said");
  Object.assign(said, { textContent: text, hidden: false, className: bad ? "bad" : "" });
  clearTimeout(silence);
  silence = setTimeout(() => (said.hidden = true), bad ? 15_000 : 5_000);
}

// Asks the user; returns null if they refuse, and otherwise the typed text, if one is requested, or true.
function question(words, button, typed = undefined) {
  const dialog = byId("question"), reply = byId("reply");
  byId("asking").textContent = words;
  byId("agree").textContent = button;
  reply.hidden = typed === undefined;
  reply.value = typed ?? "";
  dialog.returnValue = "";
  dialog.showModal();
  if (typed === undefined) byId("refuse").focus(); // Enter alone changes nothing
  return new Promise((resolve) => dialog.addEventListener("close", () =>
    resolve(dialog.returnValue !== "agreed" ? null : typed === undefined || reply.value.trim()), { once: true }));
}

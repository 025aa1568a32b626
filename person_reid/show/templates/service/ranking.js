"use strict";
// The search: your own photograph or an image of the gallery, and the images most similar to it.

const MOST = 60; // answers
const own = { photo: null, address: "", features: null }; // the latest photograph

// Searches with your own photograph.
async function search(photo) {
  if (!photo) return;
  const { features } = (await attempt(() => ask("POST", "embed", {}, photo))) ?? {};
  if (!features) return;
  URL.revokeObjectURL(own.address);
  Object.assign(own, { photo, features, address: URL.createObjectURL(photo) });
  version++;
  if (linkTo({ view: "ranking", image: "" }) === linkTo({})) show(); else go({ view: "ranking", image: "" });
}

async function showRanking(now) {
  const pane = byId("answers"), side = byId("asked-image");
  byId("view-ranking").classList.toggle("empty", !now.image && !own.photo);
  if (!changed(pane, { ...filters(now), image: now.image, threshold: now.threshold })) return;
  const key = pane.dataset.key, late = () => pane.dataset.key !== key;
  const which = { ...filters(now), threshold: now.threshold };
  side.replaceChildren();
  pane.replaceChildren();
  if (!now.image && !own.photo) return;
  const found = await attempt(() => (now.image ? similarTo(now.image, which) : similarToOwn(which)));
  if (!found || late()) return;
  side.replaceChildren(...found.about);
  pane.replaceChildren(describeAnswer(found.answer, now.threshold));
}

async function similarTo(image, which) {
  const [facts, answer] = await Promise.all([ask("GET", `images/${image}`), ask("GET", `images/${image}/similar`, { ...which, k: MOST })]);
  return { about: describeImage(image, facts), answer };
}

async function similarToOwn(which) {
  const features = { features: own.features };
  const [{ queries }, person] = await Promise.all([ask("POST", "search", { ...which, k: MOST }, features), identifyOwn(which, features)]);
  return { about: describeOwn(person), answer: queries[0] };
}

// Returns the most similar person, or nothing if no image that passes the filters has a name.
async function identifyOwn(which, features) {
  try {
    return (await ask("POST", "identify", { ...which, threshold: "" }, features)).people[0]; // this threshold is for another score
  } catch (error) {
    if (error.status !== 422) throw error;
    return undefined;
  }
}

function describeAnswer({ matches, known }, threshold) {
  const accepted = matches.filter((match) => match.accepted).length;
  const words = known === null ? "Without a threshold, no image is accepted or rejected." :
    `${accepted} of ${matches.length} are accepted at threshold ${threshold}.`;
  const tiles = matches.map((match, place) => tile(match.id, match.accepted ? "right" : "asked",
    [`${match.accepted ? "✓ " : ""}${match.similarity.toFixed(3)}`, ...captionOf(match)], place + 1, match.accepted === false));
  return element("section", { className: "answer" },
    element("h2", { textContent: "Most similar images" }),
    element("p", { className: "faint", textContent: matches.length ? words : "The gallery has no image that passes the filters." }),
    element("div", { className: "tiles" }, ...tiles));
}

const verdict = (person) => (person?.nearest ? `${person.nearest}, with score ${person.score.toFixed(3)}` : "nobody has a name");

function describeOwn(person) {
  const name = element("input", { size: 14, placeholder: "name", autocomplete: "off" });
  name.setAttribute("list", "people");
  name.setAttribute("aria-label", "Name of this person");
  const add = element("form", { className: "buttons" }, name, element("button", { className: "button", textContent: "Add" }));
  add.addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(() => addOwn(name.value.trim()));
  });
  return [
    element("h2", { textContent: "Your photograph" }),
    element("img", { className: "photo", src: own.address, alt: "your photograph" }),
    element("dl", {}, ...fact("most like", verdict(person))),
    add,
  ];
}

async function addOwn(identity, allowed = "") {
  try {
    const { images } = await ask("POST", "images", { identity, allow_forgotten: allowed }, own.photo);
    tell(`Added${identity ? ` as ${identity}` : ""}.`);
    renew();
    go({ image: images[0].id });
  } catch (error) {
    if (allowed || error.status !== 409 || !error.message.includes("allow_forgotten")) throw error;
    if (await question("This image was forgotten once. Add it again?", "Add it again")) await addOwn(identity, "true");
  }
}

function describeImage(image, facts) {
  const { id, identity = "", ...others } = facts;
  const name = element("button", { className: "button", textContent: identity ? "Rename" : "Name" });
  name.addEventListener("click", () => attempt(() => nameImage(image, identity)));
  const forget = element("button", { className: "button danger", textContent: "Forget" });
  forget.addEventListener("click", () => attempt(() => forgetImage(image)));
  const only = element("a", { className: "button", textContent: "All images of this person", hidden: !identity });
  only.href = linkTo({ view: "images", image: "", person: identity });
  if (others.time) others.time = localTime(others.time);
  return [
    element("h2", { textContent: "Image" }),
    photograph(image),
    element("dl", {}, ...fact("person", identity || "not named"), ...Object.entries(others).flatMap(([column, value]) => fact(column, value))),
    element("p", { className: "buttons" }, name, forget, only),
  ];
}

async function nameImage(image, before) {
  const identity = await question("Whom does this image show? Leave it empty if unknown.", "Name", before);
  if (identity === null) return;
  await ask("PATCH", `images/${image}`, {}, { identity });
  renew();
}

async function forgetImage(image) {
  if (!(await question("Delete this image and all facts about it? This cannot be undone.", "Forget"))) return;
  await ask("DELETE", `images/${image}`);
  tell("Forgotten.");
  version++;
  go({ image: "" });
  renew();
}

// ----- where photographs come from

async function takePhotograph() {
  const dialog = byId("viewfinder"), video = byId("video");
  if (!navigator.mediaDevices) return byId("snap").click(); // without TLS, a page gets no camera
  const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  dialog.addEventListener("close", () => stream.getTracks().forEach((track) => track.stop()), { once: true });
  video.srcObject = stream;
  dialog.showModal();
}

async function shoot() {
  const video = byId("video"), canvas = element("canvas", { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d").drawImage(video, 0, 0);
  byId("viewfinder").close();
  search(await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.95)));
}

const imageAmong = (files) => [...files].find(({ type }) => type.startsWith("image/"));

function prepareRanking() {
  for (const id of ["file", "snap"]) {
    byId(id).addEventListener("change", ({ target }) => {
      search(target.files[0]);
      target.value = ""; // the same file may be chosen again
    });
  }
  byId("choose").addEventListener("click", () => byId("file").click());
  byId("take").addEventListener("click", () => takePhotograph().catch(() => tell("The camera cannot be used.", true)));
  byId("shoot").addEventListener("click", shoot);
  byId("leave").addEventListener("click", () => byId("viewfinder").close());
  document.addEventListener("paste", ({ clipboardData }) => search(imageAmong(clipboardData.files)));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    const photo = imageAmong(event.dataTransfer.files);
    if (photo) search(photo); else tell("Drop an image file.", true);
  });
}

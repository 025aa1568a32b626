"use strict";
// The people of the gallery, each on a timeline; here they can be renamed, merged and forgotten.

const MOST_STRIPS = 12; // sightings of a person that are shown with images

function showPeople(now) {
  const pane = byId("known"), typed = now.person.trim().toLowerCase();
  if (!changed(pane, filters(now))) return;
  const shown = known.people.filter((name) => name.toLowerCase().includes(typed));
  fill(pane, shown.length, (i) => personRow(shown[i], { ...filters(now), identity: shown[i] }), 8);
  if (!shown.length) pane.prepend(element("p", { className: "faint", textContent: "Nobody has a name." }));
}

function personRow(name, which) {
  const button = (textContent, act, className = "button") => {
    const made = element("button", { type: "button", className, textContent });
    made.setAttribute("aria-label", `${textContent} ${name}`);
    made.addEventListener("click", () => attempt(() => act(name)));
    return made;
  };
  const seen = element("span", { className: "faint" }), body = element("div");
  const row = element("article", { className: "walker" },
    element("h2", {}, element("a", { textContent: name, href: linkTo({ view: "images", person: name }) }), seen),
    element("p", { className: "buttons" }, button("Rename or merge", rename), button("Forget", forgetPerson, "button danger")), body);
  attempt(async () => {
    const { sightings, next } = await ask("GET", "sightings", which);
    const images = sightings.reduce((sum, each) => sum + each.count, 0);
    seen.textContent = counted(images, "image", "images") + (next ? " and more" : "");
    body.replaceChildren(...alongTime(sightings));
  });
  return row;
}

// The lanes and strips of sightings or tracks. part: what to add below each one's images; span: the axis's, by default theirs.
function alongTime(all, part = () => [], span = []) {
  const timed = all.filter(({ first }) => first !== undefined).map((each) => ({
    ...each, camera: each.camera ?? "", name: each.track ? `track ${each.track}` : counted(each.count, "image", "images"), times: timesOf(each) }));
  const strips = all.slice(0, MOST_STRIPS).map((each) => element("section", {},
    element("h3", { textContent: [cameraWords(each.camera), each.track && `track ${each.track}`].filter(Boolean).join(" · ") || "no camera" }),
    element("p", { className: "faint", textContent: each.first === undefined ? "no time" : spanOf({ times: timesOf(each) }) }),
    element("div", { className: "tiles" }, ...each.images.map((image) => tile(image, "asked", []))), ...part(each)));
  const more = all.length - strips.length;
  return [
    ...(timed.length ? [lanes(timed, [...new Set(timed.map(({ camera }) => camera))], ...(span.length ? span : spanOfAll(timed)))] : []),
    element("div", { className: "strips" }, ...strips),
    ...(more > 0 ? [element("p", { className: "faint", textContent: `${count(more)} more are not shown.` })] : []),
  ];
}

const YEAR = 3e7; // seconds; a video without a known beginning counts from its first frame, and is shorter
const timesOf = ({ first, last }) => [first, last].map((seconds) => (seconds > YEAR ? localTime(seconds) : seconds.toFixed(1)));

async function rename(name) {
  const to = await question(`A new name for ${name}. The name of another known person merges the two.`, "Rename", name);
  if (!to || to === name) return;
  const merge = known.people.includes(to);
  if (merge && !(await question(`${name} and ${to} become one person, ${to}. This cannot be undone.`, "Merge"))) return;
  const { images } = await ask("POST", "people/rename", {}, { identity: name, to, merge });
  tell(`${counted(images, "image now has", "images now have")} the name ${to}.`);
  renew();
}

async function forgetPerson(name) {
  if (!(await question(`Delete all images of ${name} and all facts about them? This cannot be undone.`, "Forget"))) return;
  const { images } = await ask("DELETE", "images", { identity: name });
  tell(`${counted(images, "image", "images")} forgotten.`);
  renew();
}

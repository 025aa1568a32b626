"use strict";
// People across cameras: the tracks of the index, linked as by tools/across.py, the doubtful ones first.

const DOUBTFUL = 0.05; // links with a lower margin are doubtful

async function showTracks(now) {
  const pane = byId("walkers");
  byId("link").value = now.link;
  const { after, before } = filters(now);
  if (!changed(pane, { after, before, link: now.link, person: now.person, camera: now.camera })) return;
  const key = pane.dataset.key;
  byId("record").disabled = true;
  byId("linked").textContent = "Linking the tracks…";
  pane.replaceChildren();
  const linked = await attempt(() => ask("POST", "across", { threshold: now.link, after, before }));
  if (pane.dataset.key !== key) return;
  byId("linked").textContent = linked?.found ?? "";
  byId("record").disabled = !linked;
  const people = Object.values(Object.groupBy(linked?.tracks ?? [], ({ person }) => person)).filter((tracks) =>
    (!now.person || tracks[0].identity.toLowerCase().includes(now.person.trim().toLowerCase())) &&
    (!now.camera || tracks.some(({ camera }) => camera === now.camera)));
  const doubt = (tracks) => Math.min(...tracks.map(({ margin }) => margin ?? Infinity));
  people.sort((a, b) => doubt(a) - doubt(b));
  const timed = linked?.tracks.map((track) => ({ ...track, times: timesOf(track) }));
  fill(pane, people.length, (i) => linkedRow(people[i], spanOfAll(timed)), 8);
}

function linkedRow(tracks, span) {
  const [{ identity }] = tracks, cameras = new Set(tracks.map(({ camera }) => camera)).size;
  const seen = `${counted(tracks.length, "track", "tracks")} · ${counted(cameras, "camera", "cameras")}`;
  const button = (textContent, some, act = nameTracks) => {
    const made = element("button", { type: "button", className: "button", textContent });
    made.addEventListener("click", () => attempt(() => act(some, identity)));
    return made;
  };
  const part = (track) => [
    element("p", { className: isDoubtful(track) ? "doubtful" : "faint", textContent: track.margin === null ? "" : `margin ${track.margin.toFixed(3)}` }),
    element("p", { className: "buttons" }, ...(tracks.length > 1 ? [button("Somebody else", [track])] : []), button("Not a person", [track], dismiss))];
  return element("article", { className: "walker" },
    element("h2", {}, identity, element("span", { className: "faint", textContent: seen })),
    element("p", { className: "buttons" }, button("Name", tracks)),
    ...alongTime(tracks.toSorted((a, b) => a.first - b.first), part, span));
}

const isDoubtful = ({ margin }) => margin !== null && margin < DOUBTFUL;

// From now on, tracks with the same name are one person, and tracks with different names are different people.
async function nameTracks(tracks, before) {
  const identity = await question(`Whom ${tracks.length > 1 ? "do these tracks" : "does this track"} show?`, "Name", before);
  if (!identity) return;
  for (const { source, track } of tracks) await ask("PATCH", "images", { source, track }, { identity });
  renew();
}

// A track of a cart, a reflection, or half of a person belongs to nobody, here and in the commands.
async function dismiss([{ source, track }]) {
  if (!(await question("Mark this track as not a person?", "Not a person"))) return;
  await ask("PATCH", "images", { source, track }, { identity: "-1" });
  renew();
}

async function recordPeople() {
  if (!(await question("Give the images of these tracks the numbers of their people? Names that a user gave are kept.", "Record"))) return;
  const now = state(), { after, before } = filters(now);
  const { found } = await ask("PUT", "across", { threshold: now.link, after, before });
  tell(found);
  renew();
}

function prepareTracks() {
  byId("linking").addEventListener("submit", (event) => {
    event.preventDefault();
    adjust({ link: byId("link").value });
  });
  byId("record").addEventListener("click", () => attempt(recordPeople));
}

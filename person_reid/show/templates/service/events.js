"use strict";
// The people who appear in front of the live cameras of the service, the latest first.

const MOST_EVENTS = 200, LONGEST_PAUSE = 30; // seconds until a broken stream is requested again
const live = { events: [], last: "0", following: false }; // 0: all events that the service remembers

function showEvents(now) {
  if (!live.following) follow();
  attempt(() => showCameras(now));
  const pane = byId("appeared");
  if (changed(pane, { person: now.person, camera: now.camera })) pane.replaceChildren(...live.events.filter(isWanted).map(eventTile));
}

const isWanted = ({ camera, person, name }, _, __, now = state()) =>
  (!now.camera || camera === now.camera) && (name ?? person).toLowerCase().includes(now.person.trim().toLowerCase());

function eventTile({ kind, camera, person, name, time, image, corrected_from: before }) {
  const lines = [name ?? person, cameraWords(camera), localTime(time).slice(11, 19), ...(kind === "corrected" ? [`was ${before}`] : [])];
  if (image) return tile(image, kind === "corrected" ? "doubtful" : "asked", lines);
  const made = element("a", { className: "tile own", href: linkTo({ view: "images", image: "", person }) });
  made.append(element("span", { className: "photo" }), ...lines.map((line) => element("span", { className: "line", textContent: line })));
  return made;
}

function tellEvent(event) {
  live.events = [event, ...live.events].slice(0, MOST_EVENTS);
  byId("latest").textContent = `${event.name ?? event.person}, ${cameraWords(event.camera)}, ${localTime(event.time)}`;
  if (!isWanted(event)) return;
  byId("appeared").prepend(eventTile(event));
  while (byId("appeared").children.length > MOST_EVENTS) byId("appeared").lastElementChild.remove();
}

// Reads the events for as long as the page is open; events missed during an interruption come first.
async function follow() {
  live.following = true;
  for (let pause = 1; ; pause = Math.min(2 * pause, LONGEST_PAUSE)) {
    try {
      const answer = await send("GET", "events", {}, undefined, { "Last-Event-ID": live.last });
      for await (const text of textsOf(answer.body)) {
        pause = 1;
        const fields = Object.fromEntries(text.split("\n").map((line) => line.split(/: (.*)/s)));
        if (!fields.data) continue; // a comment
        live.last = fields.id;
        tellEvent({ ...JSON.parse(fields.data), kind: fields.event });
      }
    } catch (error) {
      byId("latest").textContent = error.message;
    }
    await new Promise((resolve) => setTimeout(resolve, 1000 * pause));
  }
}

// Yields the parts of a stream of text that empty lines separate.
async function* textsOf(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const whole = (text + part.value).split("\n\n");
    text = whole.pop();
    yield* whole;
  }
}

"use strict";
// What the live cameras see, annotated with people's names, for as long as this view is visible.

const MOST_WATCHED = 4; // at once: a browser opens six connections, and events and requests need some
const LIVE = 960; // pixels of a picture's longer side
const LOOK_AGAIN = 2; // seconds until a broken stream of pictures is requested again
const watched = new Map(); // the figure of each camera

async function showCameras(now) {
  const { cameras } = await ask("GET", "live");
  const wanted = cameras.filter(({ camera }) => !now.camera || camera === now.camera);
  byId("watched").replaceChildren(...wanted.map(({ camera, trouble }, i) => {
    if (!watched.has(camera)) watched.set(camera, element("figure", {}, element("img", { alt: "" }), element("figcaption")));
    const figure = watched.get(camera), [photo, caption] = figure.children;
    const words = i < MOST_WATCHED ? cameraWords(camera) : element("a", { href: linkTo({ camera }) }, cameraWords(camera));
    caption.replaceChildren(words, ...(trouble ? troubleOf(camera, trouble) : []));
    photo.hidden = i >= MOST_WATCHED;
    return figure;
  }));
  for (const { camera } of wanted.slice(0, MOST_WATCHED)) watch(camera, watched.get(camera).firstChild);
}

// Why a camera sends no frames.
function troubleOf(camera, trouble) {
  const again = element("button", { type: "button", className: "button", textContent: "Try again" });
  again.addEventListener("click", () => attempt(() => ask("POST", "live", {}, { camera })));
  return [element("span", { className: "doubtful", textContent: `: ${trouble} ` }), again];
}

const isSeen = (photo) => photo.offsetParent !== null && !document.hidden;

async function watch(camera, photo) {
  if (photo.watching) return;
  for (photo.watching = true; isSeen(photo); await new Promise((resolve) => setTimeout(resolve, 1000 * LOOK_AGAIN))) {
    await attempt(async () => {
      const answer = await send("GET", "live/pictures", { camera, size: LIVE });
      for await (const picture of picturesOf(answer.body)) {
        URL.revokeObjectURL(photo.src);
        photo.src = URL.createObjectURL(picture);
        if (!isSeen(photo)) break;
      }
    });
  }
  photo.watching = false;
}

// Yields the pictures of a stream, in which each follows a header with its length.
async function* picturesOf(stream) {
  const reader = stream.getReader();
  try {
    let bytes = new Uint8Array();
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      const both = new Uint8Array(bytes.length + part.value.length);
      both.set(bytes);
      both.set(part.value, bytes.length);
      bytes = both;
      for (let found = pictureIn(bytes); found; found = pictureIn(bytes)) {
        bytes = bytes.slice(found.end);
        yield found.picture;
      }
    }
  } finally {
    reader.cancel();
  }
}

function pictureIn(bytes) {
  const head = /Content-Length: (\d+)\r\n\r\n/.exec(new TextDecoder("latin1").decode(bytes.subarray(0, 200)));
  if (!head) return undefined;
  const start = head.index + head[0].length, end = start + Number(head[1]);
  return end > bytes.length ? undefined : { picture: new Blob([bytes.subarray(start, end)], { type: "image/jpeg" }), end };
}

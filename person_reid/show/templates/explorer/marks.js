"use strict";
// The images that a lasso on the map selects, their tags, and lists of these images for other commands.

const marks = { selected: new Set(), tags: {}, lasso: false, version: 0 };

const tagOf = (image) => marks.tags[image] ?? "";
const tagsHere = () => [...new Set(Object.values(marks.tags))].sort();
const isMarked = (image, wanted) => (wanted === "selected" ? marks.selected.has(image) : `=${tagOf(image)}` === wanted);

// Redraws the page after a change of selection or tags.
function remark() {
  marks.version++;
  show();
}

function select(images, more) {
  marks.selected = new Set(more ? [...marks.selected, ...images] : images);
  remark();
}

function holdLasso(held) {
  marks.lasso = held;
  byId("lasso").setAttribute("aria-pressed", held);
}

// Gives the selected images a tag, replacing their old one; "" removes it.
function giveTag(tag) {
  for (const image of marks.selected) {
    if (tag) marks.tags[image] = tag; else delete marks.tags[image];
  }
  keep(`tags ${DATA.images.key}`, marks.tags);
  remark();
}

// The images of the lists: the selection or, without one, the images with a tag.
const listedImages = () => (marks.selected.size ? [...marks.selected] : Object.keys(marks.tags).map(Number)).sort((a, b) => a - b);

// The number or name of an identity, as lists contain it.
const listedAs = (person) => (person === "junk" ? "-1" : person);

// The selection in the form that prepare.py --csv reads. In an index, a tag names a person, for tools/search.py apply.
function selectionRows() {
  const { listed } = DATA.images;
  return listedImages().map((image) => {
    const person = (listed.length && tagOf(image)) || personOf(image);
    return [listed[image] ?? nameOf(image), listedAs(person), cameraOf(image), tagOf(image)];
  });
}

// The images of a layout whose tag is the number of another person, or junk, for prepare.py --corrections.
function correctionRows() {
  if (DATA.images.listed.length) return [];
  const number = (person) => listedAs(person).replace(/^0+(?=\d)/, "");
  return listedImages().map((image) => [image, number(personOf(image)), number(tagOf(image))])
    .filter(([, own, wanted]) => /^(-1|[1-9]\d{0,8})$/.test(wanted) && wanted !== own)
    .map(([image, own, wanted]) => {
      const proposal = wanted === "-1" ? "junk" : own === "0" ? "somebody" : "move";
      return [nameOf(image), own, proposal, wanted, "", "yes"];
    });
}

// Shows the tags to choose from, and the actions for the selection.
function showMarks(now) {
  const tags = tagsHere(), images = listedImages().length, { size } = marks.selected;
  byId("marks").hidden = byId("tag").parentElement.hidden = !images && !now.tag;
  if (byId("tag").dataset.version === String(marks.version)) return;
  byId("tag").dataset.version = marks.version;
  const choices = [["", "all"], ["selected", "selected"], ...tags.map((tag) => [`=${tag}`, tag])];
  byId("tag").replaceChildren(...choices.map(([value, textContent]) => element("option", { value, textContent })));
  byId("tags").replaceChildren(...tags.map((value) => element("option", { value })));
  byId("marked").textContent = size ? `${count(size)} selected` : `${count(images)} tagged`;
  byId("give-tag").disabled = byId("unselect").disabled = !size;
  byId("export-corrections").hidden = !correctionRows().length;
}

function prepareMarks() {
  const recall = () => Object.assign(marks, { tags: kept(`tags ${DATA.images.key}`) ?? {} });
  recall();
  byId("lasso").addEventListener("click", () => holdLasso(!marks.lasso));
  byId("give-tag").addEventListener("click", () => giveTag(byId("new-tag").value.trim()));
  byId("unselect").addEventListener("click", () => select([]));
  byId("export-selection").addEventListener("click", () =>
    download("selection.csv", [["path", "identity", "camera", "tag"], ...selectionRows()]));
  byId("export-corrections").addEventListener("click", () => download("corrections.csv", [
    ["path", "identity", "proposal", "new_identity", "probability", "accept"], ...correctionRows()]));
  window.addEventListener("storage", () => {
    recall();
    remark();
  });
}

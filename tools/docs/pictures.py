"""Redraw all pictures in docs/images/, of synthetic people and of networks' costs.

python tools/docs/pictures.py FOLDER

FOLDER contains the output of `make demo` (people, pytorch_result.mat, model/demo) and of the same
network trained with three seeds and validation, tested on the same people:

    make demo && cp -r model demo && cd demo
    python ../test.py --name demo --test_dir people/pytorch    # again: records where the images are
    python ../train.py --name demo_0 --seed 0 --config ../recipes/demo.yaml \\
      --data_dir people/pytorch
    python ../test.py --name demo_0 --test_dir people/pytorch --result osnet_x0_25_0.mat

Run the last two commands also for the seeds 1 and 2, then `python tools/docs/pictures.py demo` in
the root. The folder also holds walks.index and data/walks, created as in docs/your-tracker.md. The
pictures of the explorer need Chromium, and do not change without it.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

import demo
from person_reid.console import run_script
from person_reid.retrieval.results import RESULT, load_result, save_result
from tools import across, augmentations, explore, figures, heatmap, label_errors
from tools.docs.browser import Browser, chromium
from tools.docs.pages import update
from tools.docs.results import read_records
from tools.reproduce import RESULTS

IMAGES = ROOT / "docs" / "images"
RANKED = ROOT / "tests" / "fixtures" / "ranking.mat"  # the features that ranking.jpg shows
WIDTH = 1400
PICTURE_GAP = 12
PICTURE_QUALITY = 88
PICTURED_PEOPLE = Path("people", "pytorch")
PICTURED_QUERY, EACH = 4, 12  # people in the data set's picture, and images of each
SEEDS = [f"osnet_x0_25_{seed}.mat" for seed in range(3)]
PICTURED_NETWORK = ["--name", "demo_0", "--result", SEEDS[0]]
SHEET = [  # rows of (script, its command line)
    [
        (demo, ["--result", SEEDS[0], "--worst", "1", "--missed"]),
        (heatmap, [*PICTURED_NETWORK, "--query_index", "7", "--top", "9"]),
    ],
    [
        (figures, ["curves", "--name", "demo_0"]),
        (figures, ["histogram", "--result", SEEDS[0]]),
    ],
    [
        (figures, ["map", "--result", SEEDS[0], "--identities", "30"]),
        (figures, ["cmc", *SEEDS, "--ranks", "20"]),
        (figures, ["cmc", *SEEDS, "--ranks", "20", "--seeds", "--dark"]),
    ],
]
SCREEN_SIZE = (1360, 760)
LASSO = "[[470, 60], [600, 20], [680, 90], [650, 150], [600, 200], [480, 190]]"
SCREENS = [  # name, explorer, address, action in the page, whether the screen is dark
    ("ranking", "look", "#view=ranking&image=2&beside=1", "", False),
    (
        "map",
        "look",
        "#view=map",
        f"select([0]); select(imagesWithin({LASSO})); drawLasso({LASSO})",
        False,
    ),
    ("threshold", "look", "#view=threshold&threshold=0.55", "", True),
    ("labels", "labels", "", "decide(0, true); decide(1, false)", False),
]
WRONG_PICTURE = 8  # images with a wrong label, for the view of labels
WALKS = ["--index", "walks.index", "--travel", "data/walks/travel.csv"]
AUGMENTED = ["--data_dir", str(PICTURED_PEOPLE), "--people", "10"]


def main(folder: str) -> None:
    """Draw every picture."""
    os.chdir(folder)
    with tempfile.TemporaryDirectory() as place:
        keep_features()
        save(ranking(RANKED, place), "ranking.jpg")
        save(
            scaled(draw(demo, ["--result", str(RESULT), "--worst", "1"], place), WIDTH),
            "ranking_worst.jpg",
        )
        rows = [side_by_side([draw(*each, place) for each in row]) for row in SHEET]
        save(stacked(rows), "pictures.jpg")
        save(scaled(draw(augmentations, AUGMENTED, place), 1025), "augmentations.jpg")
        save(people(PICTURED_PEOPLE), "people.jpg")
        save(lanes(Path(place)), "across.jpg")
        if chromium():
            for name, screen in explorer(Path(place)):
                save(screen, name)
    update(read_records(RESULTS))  # draws the costs


def draw(script: Any, words: Sequence[str], place: str) -> Image.Image:
    """Return the picture that a script draws."""
    file = str(Path(place, "picture.png"))
    script.main([*words, "--save", file])
    return Image.open(file).convert("RGB")


def keep_features() -> None:
    """Write the first query, its right answers and its nearest images to the file RANKED."""
    query, gallery = load_result(RESULT, paths=True)
    nearest = np.argsort(-(gallery.features @ query.features[0]), kind="stable")[:20]
    right = np.flatnonzero(gallery.labels == query.labels[0])
    save_result(RANKED, query.select([0]), gallery.select(np.union1d(nearest, right)))


def ranking(result: Path, place: str) -> Image.Image:
    """Return a picture of the ranking of a result's first query."""
    words = ["--result", str(result), "--query_index", "0"]
    return scaled(draw(demo, words, place), WIDTH)


def people(layout: Path) -> Image.Image:
    """Return a picture of the first people in a layout, with a row for each person."""
    rows = []
    for person in islice(sorted((layout / "train_all").iterdir()), PICTURED_QUERY):
        files = sorted(person.iterdir())
        shown = [files[i * len(files) // EACH] for i in range(EACH)]
        rows.append(side_by_side([Image.open(file) for file in shown]))
    return stacked(rows)


def lanes(place: Path) -> Image.Image:
    """Return the chart of who was where and when in the walks."""
    sheet = str(place / "lanes.png")
    across.main([*WALKS, "--save", str(place / "linked"), "--sheet", sheet])
    return scaled(Image.open(sheet).convert("RGB"), WIDTH)


def explorer(place: Path) -> Iterator[tuple[str, Image.Image]]:
    """Yield (name, picture) for each of the explorer's views."""
    explore.main(["--rerank", "--save", str(place / "look")])
    wrong = place / "label_errors.csv"
    words = ["--data_dir", str(mislabelled(place)), "--split", "gallery", "--name", "demo_0"]
    label_errors.main([*words, "--save", str(wrong)])
    explore.main(["--label_errors", str(wrong), "--save", str(place / "labels")])
    for name, folder, view, script, dark in SCREENS:
        with Browser(*SCREEN_SIZE, dark=dark) as browser:
            browser.open(place / folder / "index.html", view)
            browser.value(script)
            browser.picture(place / "screen.png")
        yield f"explorer_{name}.jpg", Image.open(place / "screen.png").convert("RGB")


def mislabelled(place: Path) -> Path:
    """Return a layout with some wrong images in the gallery: copies that show other people."""
    folders = sorted((PICTURED_PEOPLE / "gallery").glob("0[1-9]*"))
    for folder in folders:
        shutil.copytree(folder, place / "mislabelled" / "gallery" / folder.name)
    for number in range(WRONG_PICTURE):
        folder, other = folders[3 * number], folders[3 * number + 1].name
        file = sorted(folder.iterdir())[number]
        copy = place / "mislabelled" / "gallery" / folder.name / file.name
        copy.rename(copy.parent.parent / other / file.name.replace(folder.name, other, 1))
    return place / "mislabelled"


def side_by_side(pictures: Sequence[Image.Image]) -> Image.Image:
    """Return a picture, WIDTH wide, of the pictures side by side, scaled to equal height."""
    shapes = [picture.width / picture.height for picture in pictures]
    height = (WIDTH - PICTURE_GAP * (len(pictures) - 1)) / sum(shapes)
    row = Image.new("RGB", (WIDTH, round(height)), "white")
    left = 0.0
    for picture, shape in zip(pictures, shapes, strict=True):
        row.paste(scaled(picture, round(height * shape)), (round(left), 0))
        left += height * shape + PICTURE_GAP
    return row


def stacked(rows: Sequence[Image.Image]) -> Image.Image:
    """Return a picture that shows `rows`, which have equal width, one below the other."""
    height = sum(row.height for row in rows) + PICTURE_GAP * (len(rows) - 1)
    sheet = Image.new("RGB", (WIDTH, height), "white")
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height + PICTURE_GAP
    return sheet


def scaled(picture: Image.Image, width: int) -> Image.Image:
    """Return a picture scaled to a width."""
    height = round(picture.height * width / picture.width)
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def save(picture: Image.Image, name: str) -> None:
    """Write a picture to docs/images, at a modest file size."""
    picture.save(IMAGES / name, quality=PICTURE_QUALITY, optimize=True)


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.exit(__doc__)
    run_script(partial(main, sys.argv[1]))

"""Draw the pictures of synthetic people in README.md and in the pages.

python tools/docs/pictures.py FOLDER

FOLDER holds what `make demo` leaves (people, pytorch_result.mat, model/demo) and the same network
trained with three seeds and a validation, tested on the same people:

    python train.py --name demo_0 --seed 0 --data_dir people/pytorch --config recipes/demo.yaml
    python test.py --name demo_0 --test_dir people/pytorch --result osnet_x0_25_0.mat
"""

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

import demo
from tools import figures, heatmap

IMAGES = ROOT / "docs" / "images"
WIDTH, GAP, QUALITY = 1400, 12, 88
SEEDS = [f"osnet_x0_25_{seed}.mat" for seed in range(3)]
NETWORK = ["--name", "demo_0", "--result", SEEDS[0]]
PICTURES = [  # rows of (script, its command line)
    [
        (demo, ["--result", SEEDS[0], "--worst", "1", "--missed"]),
        (heatmap, [*NETWORK, "--query_index", "7", "--top", "9"]),
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


def main(folder: str) -> None:
    """Draw docs/images/ranking.jpg and docs/images/pictures.jpg."""
    os.chdir(folder)
    with tempfile.TemporaryDirectory() as place:
        file = str(Path(place, "picture.png"))

        def draw(script: object, words: Sequence[str]) -> Image.Image:
            script.main([*words, "--save", file])  # type: ignore[attr-defined]
            return Image.open(file).convert("RGB")

        ranking = draw(demo, ["--query_index", "0"])
        save(scaled(ranking, WIDTH), IMAGES / "ranking.jpg")
        rows = [side_by_side([draw(*each) for each in row]) for row in PICTURES]
    height = sum(row.height for row in rows) + GAP * (len(rows) - 1)
    sheet = Image.new("RGB", (WIDTH, height), "white")
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height + GAP
    save(sheet, IMAGES / "pictures.jpg")


def side_by_side(pictures: Sequence[Image.Image]) -> Image.Image:
    """Return pictures of one height beside each other, WIDTH wide together."""
    shapes = [picture.width / picture.height for picture in pictures]
    height = (WIDTH - GAP * (len(pictures) - 1)) / sum(shapes)
    row = Image.new("RGB", (WIDTH, round(height)), "white")
    left = 0.0
    for picture, shape in zip(pictures, shapes, strict=True):
        row.paste(scaled(picture, round(height * shape)), (round(left), 0))
        left += height * shape + GAP
    return row


def scaled(picture: Image.Image, width: int) -> Image.Image:
    """Return a picture of this width."""
    height = round(picture.height * width / picture.width)
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def save(picture: Image.Image, path: Path) -> None:
    """Write a picture of modest size."""
    picture.save(path, quality=QUALITY, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1])

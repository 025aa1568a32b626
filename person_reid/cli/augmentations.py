"""Draw what each augmentation does to training images: one row per flag, each at probability 1.

    python tools/augmentations.py --data_dir ../Market/pytorch
    python tools/augmentations.py --data_dir data/synthetic/pytorch --people 12 --save docs/images/augmentations.jpg

The first row shows the crop and flip alone; every other row includes them, too.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw, ImageFont

from person_reid.basics import atomic_write
from person_reid.cli.parser import Parser
from person_reid.cli.values import positive, side
from person_reid.data.augment import MEAN, STD, Augment
from person_reid.data.bank import load_bank
from person_reid.data.layout import read_split

FLAGS = (
    "color_jitter", "autoaugment_p", "translation_p", "lgt_p", "grayscale_erasing_p", "erasing_p", "cutout_p",
)  # fmt: skip
GAP, TEXT = 4, 14  # pixels
FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}


def main(argv: list[str] | None = None) -> None:
    """Draw the sheet and save it."""
    parser = Parser(__doc__)
    parser.add_argument("--data_dir", default="../Market/pytorch", help="folder that prepare.py laid out")
    parser.add_argument("--people", type=positive(int), default=10, help="number of identities, one image each")
    parser.add_argument("--height", type=side, default=128, help="height of the images in pixels")
    parser.add_argument("--width", type=side, default=64, help="width of the images in pixels")
    parser.add_argument("--seed", type=int, default=0, help="another seed draws other changes")
    parser.add_argument("--save", type=Path, default="augmentations.jpg", help=".jpg or .png file to write")
    options = parser.parse_args(argv)
    file_type = FORMATS.get(options.save.suffix.lower())
    if not file_type:
        parser.error(f"--save {options.save}: expected a file name that ends in one of {', '.join(FORMATS)}")
    split = read_split(options.data_dir, "train_all", cameras_required=False)
    first = np.unique(split.targets, return_index=True)[1][: options.people]
    bank = load_bank([split.paths[i] for i in first], options.height, options.width)
    rows: dict[str, dict[str, Any]] = {"crop and flip": {}, **{f"--{flag}": {flag: 1.0} for flag in FLAGS}}
    pictures = {name: augmented(bank, options.seed, settings) for name, settings in rows.items()}
    with atomic_write(options.save) as temporary:
        sheet(pictures).save(temporary, format=file_type, quality=80)
    print(f"{options.save}: {len(first)} people, {len(rows)} rows.")


def augmented(bank: torch.Tensor, seed: int, settings: dict[str, Any]) -> npt.NDArray[np.uint8]:
    """Return the bank after Augment with these settings, before normalisation. Both are (N, H, W, 3) uint8."""
    augment = Augment(*bank.shape[1:3], **settings)
    images = augment(bank, torch.arange(len(bank)), torch.Generator().manual_seed(seed)).permute(0, 2, 3, 1)
    return (255 * (images * torch.tensor(STD) + torch.tensor(MEAN))).round().clamp(0, 255).byte().numpy()


def sheet(pictures: dict[str, npt.NDArray[np.uint8]]) -> Image.Image:
    """Return one picture of the rows {name: images (N, H, W, 3)}, each below its name."""
    number, height, width, _ = next(iter(pictures.values())).shape
    font = ImageFont.load_default(TEXT - 2)
    wide = max(number * (width + GAP), *(math.ceil(font.getlength(name)) + GAP for name in pictures)) + GAP
    canvas = Image.new("RGB", (wide, len(pictures) * (height + TEXT + GAP) + GAP), "white")
    draw = ImageDraw.Draw(canvas)
    for row, (name, images) in enumerate(pictures.items()):
        top = row * (height + TEXT + GAP)
        draw.text((GAP, top), name, "black", font)
        for column, image in enumerate(images):
            canvas.paste(Image.fromarray(image), (GAP + column * (width + GAP), top + TEXT + GAP))
    return canvas

"""Draw what each augmentation does to training images: one row per flag, each at probability 1.

    python tools/augmentations.py --data_dir ../Market/pytorch
    python tools/augmentations.py --data_dir data/synthetic/pytorch --people 10 --save augmented.pdf

The first row shows the crop and flip alone; every other row includes them as well.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from person_reid.cli.outputs import check_outputs
from person_reid.cli.parser import Parser
from person_reid.cli.values import picture_file, positive, seed, side
from person_reid.data.augment import MEAN, STD, Augment
from person_reid.data.bank import load_bank
from person_reid.data.layout import read_split

FLAGS = (
    "color_jitter", "autoaugment_p", "translation_p", "lgt_p", "grayscale_erasing_p",
    "erasing_p", "cutout_p",
)  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    """Draw the sheet and save it."""
    parser = Parser(__doc__)
    parser.add_argument(
        "--data_dir", default="../Market/pytorch", help="folder that prepare.py laid out"
    )
    parser.add_argument(
        "--people", type=positive(int), default=10, help="number of identities, one image each"
    )
    parser.add_argument("--height", type=side, default=128, help="height of the images in pixels")
    parser.add_argument("--width", type=side, default=64, help="width of the images in pixels")
    parser.add_argument("--seed", type=seed, default=0, help="another seed draws other changes")
    parser.add_argument(
        "--save", type=picture_file, default=Path("augmentations.jpg"), help="picture to write"
    )
    options = parser.parse_args(argv)
    split = read_split(options.data_dir, "train_all", cameras_required=False)
    check_outputs(options, split.paths, save=[options.save])
    first = np.unique(split.targets, return_index=True)[1][: options.people]
    bank = load_bank([split.paths[i] for i in first], options.height, options.width)
    settings: dict[str, dict[str, Any]] = {
        "crop and flip": {},
        **{f"--{flag}": {flag: 1.0} for flag in FLAGS},
    }

    from person_reid.show.sheet import Row, Tile, draw_sheet  # matplotlib loads slowly

    rows = [
        Row([Tile(image) for image in augmented(bank, options.seed, s)], name)
        for name, s in settings.items()
    ]
    draw_sheet(rows, options.save)
    print(f"{options.save}: {len(first)} people, {len(rows)} rows.")


def augmented(bank: torch.Tensor, seed: int, settings: dict[str, Any]) -> npt.NDArray[np.uint8]:
    """Return the bank after Augment with these settings, before normalisation.

    Both are (N, H, W, 3) uint8.
    """
    augment = Augment(*bank.shape[1:3], **settings)
    images = augment(bank, torch.arange(len(bank)), torch.Generator().manual_seed(seed)).permute(
        0, 2, 3, 1
    )
    return (
        (255 * (images * torch.tensor(STD) + torch.tensor(MEAN)))
        .round()
        .clamp(0, 255)
        .byte()
        .numpy()
    )

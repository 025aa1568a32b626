# PYTHON_ARGCOMPLETE_OK
"""Draw the effect of each augmentation on training images: one row per flag, at probability 1.

    python tools/augmentations.py --data_dir ../Market/pytorch
    python tools/augmentations.py --data_dir data/synthetic/pytorch --people 10 --save augmented.pdf

The first row shows only the crop and flip, which every other row includes. With --plugin,
registered augmentations also have rows.
"""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import numpy.typing as npt
import torch

import person_reid as reid
from person_reid.config.forms import picture_file
from person_reid.config.look import PaperLook
from person_reid.config.option import POSITIVE, SEED, SIDE, option
from person_reid.config.run import PluginOptions
from person_reid.console import parse, run_script
from person_reid.console.outputs import check_outputs
from person_reid.data.images.augment import AUGMENTATIONS, MEAN, STD, Augment

ALWAYS = {  # every augmentation, with probability 1, in the order of application
    "autoaugment_p": 1.0, "color_jitter": True, "translation_p": 1.0, "lgt_p": 1.0,
    "grayscale_erasing_p": 1.0, "erasing_p": 1.0, "cutout_p": 1.0,
}  # fmt: skip


class AugmentationsConfig(PaperLook, PluginOptions, title="picture"):
    """All options of tools/augmentations.py."""

    data_dir: str = option("../Market/pytorch", "folder that prepare.py laid out")
    people: int = option(10, "number of identities, one image each", range=POSITIVE)
    height: int = option(128, "height of the images in pixels", range=SIDE)
    width: int = option(64, "width of the images in pixels", range=SIDE)
    seed: int = option(0, "another seed draws other changes", range=SEED)
    save: str = option("augmentations.jpg", "picture to write", form=picture_file, metavar="FILE")


def main(argv: list[str] | None = None) -> None:
    """Draw the sheet and save it."""
    config = parse(AugmentationsConfig, argv, __doc__)
    split = reid.read_split(config.data_dir, "train_all", cameras_required=False)
    check_outputs(config, split.paths, save=[config.save])

    first = np.unique(split.targets, return_index=True)[1][: config.people]
    bank = reid.load_bank([split.paths[i] for i in first], config.height, config.width)
    settings: dict[str, dict[str, Any]] = {"crop and flip": {}}
    settings |= {f"--{flag}": {flag: value} for flag, value in ALWAYS.items()}
    settings |= {f"--augment {name}": {"augment": f"{name}:1"} for name in AUGMENTATIONS}

    # matplotlib loads slowly, so only after checking the images
    from person_reid.show import sheet

    rows = []
    for name, chosen in settings.items():
        images = augmented(bank, config.seed, chosen)
        rows.append(sheet.SheetRow([sheet.Tile(image) for image in images], name))
    sheet.draw_sheet(rows, Path(config.save), config.look)
    print(f"{config.save}: {len(first)} people, {len(rows)} rows.")


def augmented(bank: torch.Tensor, seed: int, settings: dict[str, Any]) -> npt.NDArray[np.uint8]:
    """Return the bank after augmentation with `settings`, before normalisation.

    Both are (N, H, W, 3) uint8.
    """
    augment = Augment(*bank.shape[1:3], **settings)
    drawn = torch.Generator().manual_seed(seed)
    images = augment(bank, torch.arange(len(bank)), drawn).permute(0, 2, 3, 1)
    colours = 255 * (images * torch.tensor(STD) + torch.tensor(MEAN))
    return colours.round().clamp(0, 255).byte().numpy()


if __name__ == "__main__":
    run_script(main)

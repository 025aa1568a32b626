"""A data set with a torch Dataset of pictures for each split.

dataset = read_dataset("data/synthetic/pytorch")
picture, target, camera = dataset.train[0]
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch.utils.data
from PIL import Image

from person_reid.data.images.image_files import fit_image, read_image
from person_reid.data.layout import JUNK_FOLDER, Split, read_split
from person_reid.errors import UserError
from person_reid.progress import progress
from person_reid.text import counted


class Item(NamedTuple):
    """An image in a split, the class that a network learns, and the camera in the file name."""

    picture: Image.Image
    target: int
    camera: int


class ImageSplit(Split, torch.utils.data.Dataset[Item]):
    """A split that is a torch Dataset; Split explains its arrays."""

    def __getitem__(self, index: int) -> Item:
        """Return an image with its target and camera."""
        return Item(
            read_image(self.paths[index]), int(self.targets[index]), int(self.cameras[index])
        )


@dataclass(frozen=True, repr=False)
class Dataset:
    """The images of a data set, for training and for testing.

    folder: the folder that prepare.py laid out. split: the name of the training images there.
    train, query, gallery: the images; each is a torch Dataset of Items.
    """

    folder: Path
    split: str
    train: ImageSplit
    query: ImageSplit
    gallery: ImageSplit

    @property
    def num_classes(self) -> int:
        """The number of identities to train on."""
        return len(self.train.classes)

    def __repr__(self) -> str:
        query, gallery = counted(len(self.query), "query", "queries"), len(self.gallery)
        return (
            f"Dataset({self.folder}, {self.split}: {len(self.train)} images of "
            f"{self.num_classes} people; {query}, {gallery} gallery images)"
        )


def read_dataset(folder: str | Path, split: str = "train_all") -> Dataset:
    """List the images of a folder that prepare.py laid out.

    split: the training images, "train_all" or "train", which omits the images of `val`.

    >>> read_dataset("data/synthetic/pytorch").num_classes
    200

    Raises UserError if the folder is not laid out.
    """
    train = read_split(folder, split, cameras_required=False, with_junk=False)
    query, gallery = (read_split(folder, name) for name in ("query", "gallery"))
    splits = (ImageSplit(**vars(each)) for each in (train, query, gallery))
    return Dataset(Path(folder), split, *splits)


def decode_items(items: Any, size: tuple[int, int]) -> tuple[Split, torch.Tensor]:
    """Decode any torch Dataset of (image, identity, camera) into an image bank.

    items: its images are Pillow pictures, uint8 arrays (H, W, 3), or tensors (3, H, W), uint8 or
        from 0 to 1; its identities are numbers or words. size: (height, width).

    Returns the split, whose paths only number the images, and uint8 (N, height, width, 3).
    """
    bank = torch.empty(len(items), *size, 3, dtype=torch.uint8)
    people, cameras = [], []
    for index in progress(range(len(items)), desc="decoding", unit=" images"):
        image, identity, camera = items[index][:3]
        bank[index] = torch.from_numpy(fit_image(_as_picture(image), *size).copy())
        people.append(identity.item() if hasattr(identity, "item") else identity)
        cameras.append(int(camera))
    if junk := {-1, JUNK_FOLDER}.intersection(people):
        raise UserError(f"fit: identity {junk.pop()} marks junk images. Leave them out.")
    names = sorted(set(people))
    numbers = {name: number for number, name in enumerate(names)}
    targets = np.array([numbers[who] for who in people], np.int64)
    paths = [Path(f"image {index}") for index in range(len(items))]
    return Split(paths, targets, np.array(cameras), list(map(str, names)), targets), bank


def _as_picture(image: Any) -> Image.Image:
    """Return an image from a torch Dataset as a Pillow picture."""
    if isinstance(image, Image.Image):
        return image
    values = image
    if isinstance(image, torch.Tensor):
        if image.is_floating_point() and not 0 <= image.min() <= image.max() <= 1:
            raise UserError(
                f"An image has values {image.min():.2g} to {image.max():.2g}: expected 0 to 1. "
                "Leave the normalisation out, or pass a DataLoader."
            )
        values = (image * 255).round().to(torch.uint8) if image.is_floating_point() else image
        values = values.movedim(0, -1).cpu().numpy()
    return Image.fromarray(values)

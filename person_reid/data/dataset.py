"""A data set that prepare.py laid out, for programs in Python."""

from dataclasses import dataclass
from pathlib import Path

from person_reid.data.layout import Split, read_split


@dataclass(frozen=True)
class Dataset:
    """The images of a data set: to train on, and to test with.

    folder: that prepare.py laid out. split: the name of the training images there.
    train, query, gallery: the images; each is a torch Dataset of (picture, class).
    """

    folder: Path
    split: str
    train: Split
    query: Split
    gallery: Split

    @property
    def num_classes(self) -> int:
        """The number of identities to train on."""
        return len(self.train.classes)


def read_dataset(folder: str | Path, split: str = "train_all") -> Dataset:
    """List the images of a folder that prepare.py laid out.

    split: what to train on, "train_all" or "train", which leaves out the images of `val`.

    >>> read_dataset("data/synthetic/pytorch").num_classes
    200

    Raises UserError if the folder is not laid out.
    """
    folder = Path(folder)
    train = read_split(folder, split, cameras_required=False)
    query, gallery = (read_split(folder, name) for name in ("query", "gallery"))
    return Dataset(folder, split, train, query, gallery)

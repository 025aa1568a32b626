"""The data sets that prepare.py lays out, one entry each, and how to tell them apart on a disk."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from reid.data.layout import found_in, is_image
from utils import UserError, did_you_mean

TRAIN, QUERY, GALLERY, MULTI_QUERY = "train_all", "query", "gallery", "multi-query"
OPTIONAL = (MULTI_QUERY,)  # splits that a download may lack


@dataclass(frozen=True)
class DataSet:
    """What is known of a data set before its files are read.

    name: as its authors write it. locations: where a download is looked for; the first is where it is laid out.
    folders: split -> folder of the download. file_name: a pattern that its images' names match and others' do not.
    get: how to download it. marker: a file that no other data set has. published: split -> (identities, images,
    cameras), where distractors and junk are images but not identities.
    """

    name: str
    locations: tuple[str, ...]
    folders: dict[str, str]
    file_name: str
    get: str
    marker: str = ""
    published: dict[str, tuple[int, int, int]] = field(default_factory=dict)


MARKET_FOLDERS = {TRAIN: "bounding_box_train", QUERY: "query", GALLERY: "bounding_box_test", MULTI_QUERY: "gt_bbox"}

# Where several fit a folder, the last is meant: it says more.
DATA_SETS = {
    "market": DataSet(
        name="Market-1501",
        locations=("../Market", "../Market-1501-v15.09.15"),
        folders=MARKET_FOLDERS,
        file_name=r"_c\d+s\d",
        get="https://zheng-lab.cecs.anu.edu.au/Project/project_reid.html or: gdown 0B8-rUzbwVRk0c054eEozWG9COHM",
        published={
            TRAIN: (751, 12936, 6),
            QUERY: (750, 3368, 6),
            GALLERY: (750, 19732, 6),
            MULTI_QUERY: (1501, 25259, 6),
        },
    ),
    "duke": DataSet(
        name="DukeMTMC-reID",
        locations=("../DukeMTMC-reID",),
        folders=MARKET_FOLDERS,
        file_name=r"_c\d+_f\d",
        get="gdown 1jjE85dRCMOgRtvJ5RQV9-Afs-2_5dY3O",
        published={TRAIN: (702, 16522, 8), QUERY: (702, 2228, 8), GALLERY: (1110, 17661, 8)},
    ),
    "synthetic": DataSet(
        name="synthetic people",
        locations=("data/synthetic",),
        folders=MARKET_FOLDERS,
        file_name=r"_c\d+s\d",
        get="python prepare.py --synthetic",
        marker="synthetic.json",
    ),
}


def find_data_set(data_dir=None, dataset=None):
    """The data set that is meant, and the folder of its download: (DataSet, Path).

    data_dir: the folder; None looks in the default locations. dataset: a key of DATA_SETS; None recognises the data
    set by its folders and file names. Raises UserError where there is none, and says what is there instead.
    """
    if dataset is not None and dataset not in DATA_SETS:
        known = ", ".join(DATA_SETS)
        raise UserError(f"--dataset {dataset}: expected one of {known}.{did_you_mean(dataset, DATA_SETS)}")
    wanted = DATA_SETS if dataset is None else {dataset: DATA_SETS[dataset]}
    if data_dir is not None:
        return _recognise(Path(data_dir), wanted.values(), by_name=dataset is None), Path(data_dir)
    for known_set in wanted.values():
        for folder in map(Path, known_set.locations):
            if _has_folders(folder, known_set) and _has_names(folder, known_set):
                return known_set, folder
    looked = "\n".join(
        f"  {known_set.name}: {' or '.join(known_set.locations)}\n    {known_set.get}" for known_set in wanted.values()
    )
    raise UserError(
        f"no data set found from {Path.cwd()}. Looked for these, with how to get them:\n{looked}\n"
        "--data_dir FOLDER names another place; python prepare.py --synthetic draws people instead of a download."
    )


def _recognise(folder, candidates, by_name):
    if not folder.is_dir():
        raise UserError(f"--data_dir {folder}: no such folder.")
    fitting = [known_set for known_set in candidates if _has_folders(folder, known_set)]
    if not fitting:
        raise UserError(_wrong_folder(folder, next(iter(candidates))))
    if by_name:
        of_folders = " or ".join(known_set.name for known_set in fitting)
        fitting = [known_set for known_set in fitting if _has_names(folder, known_set)]
        if not fitting:
            raise UserError(
                f"--data_dir {folder}: its folders are those of {of_folders}, its file names are not. If it is one of "
                "them, say which with --dataset."
            )
    return fitting[-1]


def _has_folders(folder, known_set):
    required = [name for split, name in known_set.folders.items() if split not in OPTIONAL]
    return (folder / known_set.marker).exists() and all((folder / name).is_dir() for name in required)


def _has_names(folder, known_set):
    images = (path.name for path in (folder / known_set.folders[TRAIN]).iterdir() if is_image(path.name))
    return re.search(known_set.file_name, next(images, "")) is not None


def _wrong_folder(folder, known_set):
    expected = ", ".join(name for split, name in known_set.folders.items() if split not in OPTIONAL)
    message = f"--data_dir {folder}: found {found_in(folder)}; expected the folders {expected}."
    if (folder / TRAIN).is_dir():
        return f"{message} This folder is laid out already: train with python train.py --data_dir {folder}"
    for below in sorted(path for path in folder.iterdir() if path.is_dir()):
        if _has_folders(below, known_set):
            return f"{message} They are in {below}: pass that folder."
    return message

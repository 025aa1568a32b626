"""Networks published by others, by name.

zoo.csv has a row for each: the options of the network, its training data, its published results and
its file. FAMILIES_OF_ZOO holds what the networks of one program have in common. Both come from the
authors' pages and code, and are empty where these have no information.
"""

import csv
import fnmatch
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from person_reid.errors import UserError
from person_reid.text import as_command, parse_json

ZOO_TABLE = Path(__file__).with_name("zoo.csv")
PACKAGED = Path(__file__).resolve().parent.parent / "weights"  # folders of save_pretrained
PACKAGED_NETWORK = "intel_0277"  # which compare, search, people and serve use by default
GITHUB, DRIVE = "https://github.com", "https://drive.google.com"
ChannelValues = tuple[float, float, float]
# Mean and standard deviation of ImageNet's pixels, RGB in [0, 1], for normalisation.
IMAGENET = MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
LUPERSON = (0.3525, 0.3106, 0.3140), (0.2660, 0.2522, 0.2505)


class Family(NamedTuple):
    """The common properties of the networks from one program.

    licence: the terms of the authors' code and files; the data sets have their own.
    ap: the definition of the published AP: step, trapezoidal, or "" if unknown.
    pixels: the mean and deviation of the images' values, from 0 to 1, or None if unknown.
    padding: pixels around a training image before it is cropped, or None if unknown.
    flip: whether the published results add the mirrored image.
    """

    page: str
    licence: str
    ap: str = "step"
    pixels: tuple[ChannelValues, ChannelValues] | None = IMAGENET
    padding: int | None = 10
    flip: bool = False


FAMILIES_OF_ZOO = {
    "torchreid": Family(
        "https://kaiyangzhou.github.io/deep-person-reid/MODEL_ZOO", "MIT", padding=0
    ),
    "fast-reid": Family(f"{GITHUB}/JDAI-CV/fast-reid/blob/master/MODEL_ZOO.md", "Apache-2.0"),
    "reid-strong-baseline": Family(f"{GITHUB}/michuanhaohao/reid-strong-baseline", "MIT"),
    "baseline": Family(
        f"{GITHUB}/layumi/Person_reID_baseline_pytorch", "MIT", "trapezoidal", flip=True
    ),
    "TransReID": Family(f"{GITHUB}/damo-cv/TransReID", "MIT", pixels=HALF),
    "TransReID-SSL": Family(f"{GITHUB}/damo-cv/TransReID-SSL", "MIT", pixels=HALF),
    "PASS": Family(f"{GITHUB}/CASIA-IVA-Lab/PASS-reID", "Apache-2.0", pixels=HALF),
    "CLIP-ReID CNN": Family(f"{GITHUB}/Syliz517/CLIP-ReID", "MIT"),
    "CLIP-ReID ViT": Family(f"{GITHUB}/Syliz517/CLIP-ReID", "MIT", pixels=HALF),
    "SOLIDER": Family(f"{GITHUB}/tinyvision/SOLIDER-REID", "MIT", pixels=HALF),
    "LUPerson": Family(f"{GITHUB}/DengpanFu/LUPerson", "Apache-2.0", pixels=LUPERSON),
    "LUPerson-NL": Family(f"{GITHUB}/DengpanFu/LUPerson-NL", "", pixels=None),
    "PersonViT": Family(f"{GITHUB}/hustvl/PersonViT", "", pixels=HALF),
    "KPR": Family(
        f"{GITHUB}/VlSomers/keypoint_promptable_reidentification", "Hippocratic 3.0", pixels=HALF
    ),
    "LightMBN": Family(f"{GITHUB}/jixunbo/LightMBN", "MIT", padding=None, flip=True),
    "Intel": Family(f"{GITHUB}/openvinotoolkit/open_model_zoo", "Apache-2.0", "", padding=None),
    "MegaDescriptor": Family(
        "https://huggingface.co/BVRA/MegaDescriptor-L-384", "CC-BY-NC-4.0", "", padding=None
    ),
    "Roboflow": Family(f"{GITHUB}/roboflow/re-ID", "Apache-2.0", padding=None),
}


@dataclass(frozen=True)
class Published:
    """A published network: a row of zoo.csv.

    options: {option: value} for the network.
    seen: the data sets of people that it was trained on; ImageNet's and CLIP's do not count.
    figures: {test set: (Rank@1, mAP)} in per cent, without re-ranking.
    hub: the repository on the Hugging Face hub that holds the file, or "" if none is known.
    file: the file's name there, or the authors' name for it, or "" if unknown.
    bytes: the file's size, where known.
    checksum: its SHA-256 or SHA-384, where known; of an OpenVINO network, those of the .bin and the
        .xml, separated by a space.
    at: the address of the file, or of a page or folder that has it.
    note: why the network cannot be used here, or "" if it can.
    """

    name: str
    family: str
    options: Mapping[str, Any]
    seen: str
    figures: Mapping[str, tuple[float, float]]
    hub: str
    file: str
    bytes: int | None
    checksum: str
    at: str
    note: str

    @property
    def shared(self) -> Family:
        """Return what all networks from this network's program have in common."""
        return FAMILIES_OF_ZOO[self.family]

    @property
    def size(self) -> tuple[int, int]:
        """Return the (height, width) of the network's images."""
        return self.options.get("height", 256), self.options.get("width", 128)

    @property
    def addresses(self) -> dict[str, tuple[str, str]]:
        """Return {ending of the file's name: (address, checksum or "")}, if they are public.

        An OpenVINO network is two files, of which the graph, .xml, is the last.
        """
        if not (self.file and urlsplit(self.at).path.endswith(f"/{self.file}")):
            return {}
        suffix = PurePosixPath(self.file).suffix
        endings = (".bin", ".xml") if suffix == ".xml" else (suffix,)
        sums = self.checksum.split() or [""] * len(endings)
        root = self.at.removesuffix(suffix)
        return {each: (root + each, digest) for each, digest in zip(endings, sums, strict=True)}

    @property
    def downloads(self) -> bool:
        """Return whether the suite can fetch the file and use it."""
        return bool(self.hub or self.addresses) and not self.note

    @property
    def file_names(self) -> list[str]:
        """Return the possible local names of the file, the preferred name first."""
        known = PurePosixPath(self.file).name
        ending = known[known.find(".pth") :] if ".pth" in known else PurePosixPath(known).suffix
        alone = sum(PurePosixPath(other.file).name == known for other in zoo().values()) == 1
        first = self.name + (ending or ".pth")
        return [first, known] if known and alone and known != first else [first]

    @property
    def local(self) -> Path | None:
        """Return the file in the folder of weights, or None."""
        files = (folder() / name for name in self.file_names)
        return next((file for file in files if file.exists()), None)

    def absent(self, reason: str = "") -> str:
        """Return a message that says why the file is missing, and where to put it."""
        source = f"{self.file} of {self.where}" if self.hub else self.where
        beside = " with its .bin" if self.file.endswith(".xml") else ""
        return (
            f"{self.name}: its file is not here{reason}. Download {source}{beside} and save it as "
            f"{folder() / self.file_names[0]}, or name a file with its --backbone: --weights FILE."
        )

    @property
    def where(self) -> str:
        """Return the address of the network's file."""
        return f"https://huggingface.co/{self.hub}" if self.hub else self.at


@cache
def zoo() -> Mapping[str, Published]:
    """Return {name: network} for all known published networks."""
    with ZOO_TABLE.open(newline="", encoding="utf-8") as rows:
        return {row["name"]: _read(row) for row in csv.DictReader(rows)}


def _read(row: dict[str, str]) -> Published:
    options = dict(pair.split("=", 1) for pair in row.pop("network").split())
    figures = {}
    for each in filter(None, row.pop("figures").split("; ")):
        test, pair = each.rsplit(" ", 1)
        rank1, mean_ap = map(float, pair.split("/"))
        figures[test] = rank1, mean_ap
    return Published(
        **{name: text for name, text in row.items() if name != "bytes"},
        options={name: _value(text) for name, text in options.items()},
        figures=figures,
        bytes=int(row["bytes"]) if row["bytes"] else None,
    )


def _value(text: str) -> Any:
    """Return an option's value: true, a whole number, or the text."""
    return True if text == "true" else int(text) if text.isdecimal() else text


def packaged(text: Any) -> Path | None:
    """Return the folder of the packaged network that `text` names, or None.

    A file or folder of that name in the current folder takes precedence.
    """
    inside = str(text) in zoo() and (PACKAGED / str(text)).is_dir() and not Path(text).exists()
    return PACKAGED / str(text) if inside else None


def network_names() -> list[str]:
    """Return the names of all networks with weights."""
    return list(zoo())


def published_network(text: Any) -> Published | None:
    """Return the published network that `text` names, or None if it names a file or anything else.

    A file of that name in the current folder takes precedence. Raises UserError for a network that
    this version cannot build.
    """
    if text in (None, "imagenet", "none") or Path(text).exists():
        return None
    entry = zoo().get(str(text))
    if entry and entry.note:
        raise UserError(
            f"{entry.name}: {entry.note}. `{as_command('model.py')} --published` lists others."
        )
    return entry


def implied(weights: Any, known: Mapping[str, Any]) -> dict[str, Any]:
    """Return {option: value} for the network that `weights` names, or {} for a file.

    known: {option: its declaration} of the configuration. With the option from_run, a network in
    this package is opened as a folder.
    """
    if folder := packaged(weights):
        if "from_run" in known:
            return {"weights": None, "from_run": str(weights)}
        layers = parse_json((folder / "config.json").read_bytes())["network"]
        of_known = {name: value for name, value in layers.items() if name in known}
        return {name: value for name, value in of_known.items() if value != known[name].default}
    entry = published_network(weights)
    if not entry:
        return {}
    options = dict(entry.options)
    if not entry.shared.flip:
        options["no_flip"] = True
    return {name: value for name, value in options.items() if name in known}


def folder() -> Path:
    """Return the folder of weights, which is torch.hub's, without importing PyTorch."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "torch")
    return Path(os.environ.get("TORCH_HOME", cache), "hub", "checkpoints").expanduser()


def listing(pattern: str = "*") -> str:
    """Return, as text, a table for each family of networks with weights.

    pattern: lists the networks whose names match. Raises UserError if none do.
    """
    lines: list[str] = []
    for family, about in FAMILIES_OF_ZOO.items():
        rows = [
            (each.name, *cells(each))
            for each in of_family(family)
            if fnmatch.fnmatch(each.name, pattern)
        ]
        if rows:
            widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
            padded = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
            lines += [f"{family}: {about.page}", facts(about), "", *padded, "", ""]
    if not lines:
        raise UserError(
            f"published={pattern}: no published network has such a name. "
            f"{as_command('model.py')} --published lists all."
        )
    return "\n".join(lines[:-1])


def of_family(family: str) -> list[Published]:
    """Return the published networks in a family."""
    return [each for each in zoo().values() if each.family == family]


def cells(entry: Published) -> tuple[str, str, str, str]:
    """Return a network's input size, training data, published Rank@1 / mAP, and file location."""
    figures = ", ".join(
        f"{test} {rank1} / {mean_ap}" for test, (rank1, mean_ap) in entry.figures.items()
    )
    return "{}×{}".format(*entry.size), entry.seen, figures, place(entry)


def place(entry: Published) -> str:
    """Say where a network's file is, or why the network cannot be used."""
    if entry.note or entry.hub:
        return entry.note or "on the hub"
    if (PACKAGED / entry.name).is_dir():
        return "in this package"
    return "at its address" if entry.addresses else "to download"


def facts(family: Family) -> str:
    """Describe what the networks of a family have in common."""
    normalised = "Pixels are normalised with"
    pixels = {
        IMAGENET: f"{normalised} ImageNet's mean and standard deviation",
        HALF: f"{normalised} a mean and standard deviation of 0.5",
        LUPERSON: f"{normalised} ImageNet's mean and standard deviation in place of LUPerson's",
        None: "The mean and standard deviation of the pixels are unknown",
    }
    pads = f"pads images by {family.padding} pixels" if family.padding else "does not pad images"
    return " ".join(
        [
            f"The licence is {family.licence or 'unknown'}.",
            f"The results use {f'{family.ap} AP' if family.ap else 'an unknown definition of AP'},",
            f"{'with' if family.flip else 'without'} the mirrored image.",
            pixels[family.pixels] + ("." if family.padding is None else f", and training {pads}."),
        ]
    )

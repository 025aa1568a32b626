"""Save a network as a self-describing folder: weights, configuration, and a model card.

    save_pretrained("market", "osnet_market", [accuracy(embed, "../Market/pytorch")])
    embed = Embedder.from_pretrained("osnet_market")       # or a model of the Hugging Face hub

model.safetensors holds all tensors of the network. config.json holds its NetworkOptions, the
preprocessing and the checksum of the weights. README.md is a model card (Mitchell et al., Model
Cards for Model Reporting, FAccT 2019). Reading the folder executes nothing in it (pretrained.py).
"""

import hashlib
import platform
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import torch
from safetensors.torch import save

from person_reid.config.tested import CONFIG_FILE
from person_reid.data.datasets import DATA_SETS
from person_reid.data.layout import read_split
from person_reid.data.prepare import read_record
from person_reid.deploy.embedder import Embedder
from person_reid.deploy.load import NetworkToTest, load_network, network_of_run
from person_reid.deploy.pretrained import CARD, preprocessing
from person_reid.errors import UserError
from person_reid.files import SETTINGS_BYTES, atomic_write, content_of, real, write_json, write_text
from person_reid.models.complexity import complexity
from person_reid.models.weight_files import SAFETENSORS
from person_reid.retrieval.bound import Bound
from person_reid.retrieval.features import extract_split
from person_reid.retrieval.metrics import evaluate
from person_reid.retrieval.remarks import remark_unmatched
from person_reid.retrieval.results import FeatureSet
from person_reid.retrieval.track_features import IN_FILE, TrackCosines
from person_reid.text import parse_json
from person_reid.versions import versions

LIBRARY = "person_reid"
TIMED_IMAGES = 64
TEMPLATE = Path(__file__).parent / "card.md.jinja"


class Accuracy(NamedTuple):
    """The accuracy of a network on a test set, with metrics in %.

    data_set: the name of the test set. terms: its licence. queries, gallery: how many images each
    has.
    """

    data_set: str
    terms: str
    queries: int
    gallery: int
    rank1: float
    mean_ap: float
    step_ap: float
    mean_inp: float


def query_and_gallery(embedder: Embedder, test_dir: str | Path) -> list[FeatureSet]:
    """Return the features of the query and gallery in a folder laid out by prepare.py."""
    splits = {name: read_split(test_dir, name) for name in ("query", "gallery")}
    return [
        extract_split(embedder.features, embedder.size, split, test_dir, name)
        for name, split in splits.items()
    ]


def accuracy(embedder: Embedder, test_dir: str | Path) -> Accuracy:
    """Measure a network on a folder laid out by prepare.py, with both definitions of AP."""
    query, gallery = query_and_gallery(embedder, test_dir)
    remark_unmatched(query, gallery)
    found, step = evaluate(query, gallery), evaluate(query, gallery, ap="step")
    percent = [round(100 * value, 2) for value in (found.rank(1), found.mAP, step.mAP, found.mINP)]
    return Accuracy(*about_data(test_dir), len(query.labels), len(gallery.labels), *percent)


def about_data(folder: str | Path) -> tuple[str, str]:
    """Return the name and, if known, the terms of the data set that a folder holds.

    A data set that looks like a known one but has other numbers of images, such as a part of it, is
    named after its folder.
    """
    record, place = read_record(Path(folder)), real(folder)
    own_name = place.parent.name if place.name == "pytorch" else place.name
    name = record.get("data_set", own_name)
    known = next((each for each in DATA_SETS.values() if each.name == name), None)
    counts = Counter(target.partition("/")[0] for target in record.get("files", ()))
    for split, (_, images, _) in (known.published if known else {}).items():
        if images and counts[split] not in (0, images):
            return own_name, "not known"
    return name, known.licence if known else "not known"


def check_output(folder: str | Path) -> None:
    """Raise UserError if save_pretrained would replace another program's file."""
    folder = Path(folder)
    if folder.is_file():
        raise UserError(f"{folder}: a file; expected the name of a folder to write.")
    there = [name for name in (CARD, CONFIG_FILE, SAFETENSORS) if (folder / name).exists()]
    try:
        own = (
            not there
            or parse_json(content_of(folder / CONFIG_FILE, SETTINGS_BYTES))["library"] == LIBRARY
        )
    except (OSError, ValueError, LookupError, TypeError):
        own = False
    if not own:
        raise UserError(
            f"{folder}: holds {', '.join(there)}, not written by save_pretrained. "
            "Choose another folder."
        )


def save_pretrained(
    source: str | NetworkToTest,
    folder: str | Path,
    accuracies: Sequence[Accuracy] = (),
    trained_on: Mapping[str, str] | None = None,
    threshold: float | None = None,
    bound: Bound | None = None,
    track_cosines: TrackCosines | None = None,
    half: bool = False,
) -> Path:
    """Write a network to a folder, and return the folder.

    source: the name of a run (model/NAME), or a NetworkToTest.
    accuracies: the accuracies to show on the card.
    trained_on: {name: terms} of the training data.
    threshold: the cosine similarity from which two images show the same person.
    bound: the bound on the threshold's errors.
    track_cosines: the similarity of tracks with this network, for linking across cameras.
    half: store matrices and kernels in half precision. Vectors, such as the statistics of batch
    norms, need single precision and little space.

    Raises UserError for weights that do not fit, and if the folder has a card or configuration that
    it did not write. Raises an OSError that names the file if a file cannot be written.
    """
    check_output(folder)
    tested = network_of_run(source) if isinstance(source, str) else source
    folder, network = Path(folder), load_network(tested).eval()
    tensors = {
        name: (value.half() if half and value.ndim > 1 else value).detach().contiguous().clone()
        for name, value in network.state_dict().items()
    }
    content = save(tensors, {"format": "pt"})
    config = {
        "library": LIBRARY,
        "versions": versions(),
        "network": asdict(tested.spec),
        "num_classes": tested.num_classes,
        "feature_size": network.dim,
        "preprocessing": preprocessing(tested),
        "threshold": threshold,
        "promise": bound and asdict(bound),
        IN_FILE: track_cosines and track_cosines._asdict(),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    machine = platform.processor() or platform.machine()
    described: dict[str, Any] = {
        "name": real(folder).name,
        "config": config,
        "complexity": complexity(network, tested.size),
        "accuracies": accuracies,
        "trained_on": trained_on,
        "promise": bound,
        "milliseconds": milliseconds(Embedder(tested, device="cpu", flip=False)),
        "machine": f"{machine}, {torch.get_num_threads()} threads",
    }
    text = TEMPLATE.read_text(encoding="utf-8")
    card = jinja2.Template(text, trim_blocks=True, lstrip_blocks=True)
    with (  # all files or, on a full disk, none
        atomic_write(folder / CARD) as new_card,
        atomic_write(folder / CONFIG_FILE) as new_config,
        atomic_write(folder / SAFETENSORS) as new_weights,
    ):
        new_weights.write_bytes(content)
        write_json(new_config, config)
        write_text(new_card, card.render(described) + "\n")
    return folder


def milliseconds(embedder: Embedder) -> float:
    """Return the milliseconds that an embedder takes per image, not counting decoding."""
    images = torch.zeros(TIMED_IMAGES, *embedder.size, 3, dtype=torch.uint8)
    embedder.features(images)
    began = time.perf_counter()
    embedder.features(images)
    return 1000 * (time.perf_counter() - began) / TIMED_IMAGES

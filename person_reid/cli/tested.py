"""Find the network that the flags of test.py and of the tools name: that
of a run, or of a weight file.
"""

import logging
import shlex
from argparse import Namespace
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from person_reid.basics import UserError
from person_reid.cli.flags import (
    DESCRIPTION,
    NETWORK_OF_FILE,
    NETWORK_OF_RUN,
    given_flags,
    given_values,
    testing_parser,
)
from person_reid.config import TrainConfig
from person_reid.config.network import NetworkOptions
from person_reid.config.optimizer import PrecisionOptions
from person_reid.config.option import as_flag, configured
from person_reid.config.published import NETWORK_FLAGS, PUBLISHED_CLASSES
from person_reid.console import command
from person_reid.deploy.embedder import Embedder
from person_reid.deploy.interface import Preparation
from person_reid.deploy.load import TestedNetwork, load_network
from person_reid.deploy.pretrained import CONFIG, find_folder, open_pretrained
from person_reid.deploy.run import READABLE
from person_reid.device import dtype_of, select_device
from person_reid.retrieval.features import parse_scales
from person_reid.retrieval.normalization import reestimate_batch_norms
from person_reid.retrieval.results import NETWORK, PLAIN, read_note
from person_reid.retrieval.thresholds import load_threshold
from person_reid.run_folder import RunFolder, save_tensors
from person_reid.training.build import resolved

log = logging.getLogger(__name__)
# Flags that an exported file has decided.
DECIDED = ("from", *NETWORK_OF_RUN, *NETWORK_OF_FILE, *DESCRIPTION, "ms", "no_norm")
# What a file of another program might lack.
PREPARED = ("height", "width", "range", "mean", "std", "bgr", "feature_output")
# Flags of tests, and not of a network.
OF_TESTS = ("test_dir", "multi", "result", "json", "adapt_bn", "camera_norm", "whiten")
# between these, similarities are not comparable
ALTERING = ("ms", "no_flip", "adapt_bn", "camera_norm", "whiten")
# all flags that features depend on
OF_FEATURES = (*DECIDED, *PREPARED, "engine", "no_flip", "fp16", "bf16")


def network_flags(text: str, gpu_ids: str = "0") -> Namespace:
    """Return the flags of test.py for a network that one text names.

    text: a run, a folder of save_pretrained, an exported file, or BACKBONE=FILE for a weight file;
    further flags of test.py may follow it.
    """
    try:
        named, *further = shlex.split(text)
    except ValueError as error:  # nothing, or a quotation mark without its pair
        raise UserError(
            f"{text!r}: expected a network, and perhaps flags of test.py ({error})."
        ) from None
    backbone, _, weights = named.partition("=")
    if Path(named).suffix.lower() in READABLE:
        words = ["--engine", named]
    elif (Path(named) / CONFIG).is_file():
        words = ["--from", named]
    elif weights:
        words = ["--backbone", backbone, "--weights", weights]
    else:
        words = ["--name", named]
    return testing_parser().parse_args([*words, "--gpu_ids", gpu_ids, *further])


def is_run(options: Namespace) -> bool:
    """Return whether the flags of test.py name a run, and not a folder, a
    weight file or an exported file.
    """
    return not any(getattr(options, flag, None) for flag in ("from", "backbone", "engine"))


def title(options: Namespace) -> str:
    """Return the network that the flags of test.py name, in words."""
    named = (
        f"{options.name} {options.which_epoch}"
        if is_run(options)
        else f"{options.backbone} {options.weights}"
    )
    return getattr(options, "from") or named


def network_name(options: Namespace) -> str:
    """Return the network that the flags of test.py name, as a result file notes it.

    It is a run and its checkpoint (59 and 60 may be the same one), or the name of a file and of its
    folder.
    """
    if is_run(options):
        with suppress(FileNotFoundError):  # of a run that was tested elsewhere
            return (
                f"{options.name} {RunFolder(options.name).weights_file(options.which_epoch).stem}"
            )
        return f"{options.name} {options.which_epoch}"
    file = Path(
        getattr(options, "engine", None) or getattr(options, "from") or options.weights or ""
    )
    named = "/".join(file.resolve().parts[-2:]) if file.exists() else file.name
    return " ".join(filter(None, (options.backbone, named)))


def feature_flags(options: Namespace) -> str:
    """Return the flags of test.py that make features differ from those of the network, or PLAIN."""
    given = {name: getattr(options, name) for name in ALTERING}
    areas = ",".join(f"{scale**2:g}" for scale in parse_scales(options.ms))  # 1.0 is 1
    given["ms"] = areas if areas != "1" else None
    words = [
        f"--{name}" if value is True else f"--{name} {value}"
        for name, value in given.items()
        if value
    ]
    return " ".join(words) or PLAIN


def own_threshold(options: Namespace) -> str | None:
    """Return the configuration of the folder --from if it holds a threshold
    for images of the size asked for.
    """
    folder = getattr(options, "from")
    if not folder or options.height or options.width:
        return None
    with suppress(UserError):
        file = find_folder(folder) / CONFIG
        load_threshold(file)
        return str(file)
    return None


def check_result_of(options: Namespace) -> None:
    """Raise UserError if the file --result holds the features of another network than the flags
    name.

    For those of an exported file, which may be of this network, a remark says so.
    """
    found, asked = read_note(options.result, NETWORK), network_name(options)
    problem = f"{options.result}: holds the features of {found!r}, not of {asked!r}."
    if Path(found).suffix.lower() in READABLE:
        log.warning(problem)
    elif found and found != asked:
        raise UserError(
            f"{problem} Name that network, or extract the features of this one with test.py."
        )


@command
def tested_network(options: Namespace) -> TestedNetwork:
    """Return the network that the flags of test.py name: that of a folder, of the run model/NAME,
    or of a weight file.

    Raises UserError or FileNotFoundError if there is no such run, checkpoint or network, and for
    flags that contradict it or would be ignored.
    """
    if folder := getattr(options, "from"):
        if ignored := given_flags(options, (*NETWORK_OF_RUN, *NETWORK_OF_FILE, *DESCRIPTION)):
            raise UserError(
                f"{ignored} would be ignored: {CONFIG} in {folder} describes the network."
            )
        return open_pretrained(folder).resized((options.height, options.width))
    if not options.backbone:
        run = RunFolder(options.name)
        network, weights = run_to_test(options), run.weights_file(options.which_epoch)
        return TestedNetwork(network, weights, run.num_classes(run.options()))
    if ignored := given_flags(options, NETWORK_OF_RUN):
        raise UserError(
            f"{ignored} would be ignored: --backbone {options.backbone} is a network without a run."
        )
    if not options.weights:
        raise UserError(
            f"--backbone {options.backbone} needs --weights FILE, or none for random weights."
        )
    asked = {name: getattr(options, name) for name in (*DESCRIPTION, "height", "width")}
    given = {
        name: value for name, value in asked.items() if value is not None and value is not False
    }
    described = configured(TrainConfig, {"backbone": options.backbone, **given})
    has_head = (
        asked["neck"] not in (None, "none") or asked["head"] or asked["linear_num"] is not None
    )
    classes = PUBLISHED_CLASSES if has_head else None  # no feature depends on their number
    return TestedNetwork(_layers(described), options.weights, classes, options.seed)


@command
def run_to_test(options: Namespace) -> NetworkOptions:
    """Return the network of the run that the flags of test.py name, with the image size they ask
    for.

    Raises UserError if there is no such run, and for flags that contradict it or mean nothing to
    it.
    """
    run = RunFolder(options.name)
    if ignored := given_flags(options, NETWORK_OF_FILE):
        raise UserError(
            f"{ignored} would be ignored: {run.options_file} describes the network of the run. "
            "For a weight file without a run, name its network: --backbone NAME."
        )
    given = given_values(options, DESCRIPTION)
    trained = _layers(run.config(given))
    _refuse_contradictions(given, trained, run.options_file)
    return replace(
        trained, height=options.height or trained.height, width=options.width or trained.width
    )


def _layers(config: TrainConfig) -> NetworkOptions:
    """Return the resolved network of a training."""
    return NetworkOptions.of(asdict(resolved(config)))


def _refuse_contradictions(given: dict[str, Any], trained: NetworkOptions, file: Path) -> None:
    """Raise UserError for given flags that contradict the network of a
    run, which the file describes.
    """
    for flag, value in given.items():
        name, asked = ("backbone", NETWORK_FLAGS[flag]) if flag in NETWORK_FLAGS else (flag, value)
        found = getattr(trained, name)
        if found != asked:
            raise UserError(
                f"{as_flag(flag, value)} contradicts {file} ({name}: {found}). A "
                "run is tested as it was trained: "
                "leave the flag out, or choose another run with --name."
            )


def open_embedder(
    options: Namespace, target: Callable[[tuple[int, int]], torch.Tensor] | None = None
) -> Embedder:
    """Return the Embedder that the flags of test.py describe.

    Raises UserError for flags that exclude each other.

    target: (height, width) → the bank of images whose batch-norm statistics the network is to have
    (--adapt_bn).
    """
    settings, device = _settings(options), select_device(options.gpu_ids)
    if options.engine and Path(options.engine).suffix.lower() not in READABLE:
        raise UserError(
            f"--engine {options.engine}: expected a file that ends in {', '.join(READABLE)}."
        )
    network = options.engine or tested_network(options)
    if not target:
        return Embedder(network, device=device, **settings)
    with TemporaryDirectory() as folder:
        network = _with_norms_of(
            target(network.size), network, Path(folder), device, settings["dtype"]
        )
        return Embedder(network, device=device, **settings)


def open_teacher(text: str, device: torch.device) -> Embedder:
    """Return the Embedder of --teacher on a device.

    text: see network_flags. Raises UserError or FileNotFoundError if there is no such network, and
    for flags that mean nothing here.
    """
    options = network_flags(text)
    if ignored := given_flags(options, (*OF_TESTS, "gpu_ids")):
        raise UserError(f"--teacher {text}: {ignored} would be ignored; leave it out.")
    return Embedder(options.engine or tested_network(options), device=device, **_settings(options))


def _settings(options: Namespace) -> dict[str, Any]:
    """Return the arguments of Embedder, without network and device, that the flags of test.py stand
    for.

    Raises UserError for flags that exclude each other.
    """
    if options.engine and (decided := given_flags(options, DECIDED)):
        raise UserError(
            f"--engine {options.engine}: {decided} was decided when the "
            "file was written; leave it out."
        )
    if not options.engine and (ignored := given_flags(options, PREPARED[2:])):
        raise UserError(f"{ignored} would be ignored without --engine FILE.")
    return {
        "flip": not options.no_flip,
        "batch_size": options.batchsize,
        "scales": parse_scales(options.ms),
        "dtype": _precision(options),
        "unit_length": not options.no_norm,
        "runtime": options.runtime,
        "preparation": _preparation(options)
        if options.engine and given_flags(options, PREPARED)
        else None,
        "output": options.feature_output,
    }


def _precision(options: Namespace) -> torch.dtype | None:
    return dtype_of(PrecisionOptions(fp16=options.fp16, bf16=options.bf16))


def _preparation(options: Namespace) -> Preparation:
    """Return how the file of --engine wants its pixels."""
    mean, std = (
        tuple(map(float, text.split(","))) if text else None for text in (options.mean, options.std)
    )
    up_to = 255 if options.range == "0..255" else 1
    size = options.height, options.width
    return Preparation(mean, std, options.bgr, up_to, size, given_flags(options, PREPARED))


def _with_norms_of(
    bank: torch.Tensor,
    tested: TestedNetwork,
    folder: Path,
    device: torch.device,
    dtype: torch.dtype | None,
) -> TestedNetwork:
    """Return a network with the batch-norm statistics of a bank; its
    weights are a file in `folder`.
    """
    network = load_network(tested)
    reestimate_batch_norms(network, bank, device, dtype)
    save_tensors(network.state_dict(), folder / "adapted.pth")
    return replace(tested, weights=folder / "adapted.pth", seed=None)

"""Find the network that options name: a run, a weight file, a folder or an exported file.

Its batch norms can be fitted to the test images, without labels.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from person_reid.config import TrainConfig
from person_reid.config.network import NETWORK_FLAGS, PUBLISHED_CLASSES, NetworkOptions
from person_reid.config.option import Options, as_flag, configured, named
from person_reid.config.tested import (
    CONFIG_FILE,
    DECIDED,
    DESCRIPTION,
    OF_FILE,
    OF_RUN,
    PREPARED,
    READABLE,
    TestConfig,
    TrainedNetwork,
    parse_scales,
)
from person_reid.config.zoo import network_names
from person_reid.data.images.augment import normalise
from person_reid.deploy.embedder import Embedder
from person_reid.deploy.interface import Preparation
from person_reid.deploy.load import NetworkToTest, load_network, options_of_run
from person_reid.deploy.network_names import network_name, no_network, run_of
from person_reid.deploy.pretrained import find_folder, open_pretrained
from person_reid.device import autocast, dtype_of, select_device
from person_reid.errors import UserError
from person_reid.models.factory import check_network, options_of
from person_reid.models.network import Network
from person_reid.progress import progress
from person_reid.retrieval.results import NETWORK, read_note
from person_reid.retrieval.thresholds import load_threshold
from person_reid.run_folder import RunFolder, save_tensors
from person_reid.text import did_you_mean

log = logging.getLogger(__name__)
STATISTICS_BATCH = 64  # images per batch; the statistics are means over the batches


def own_threshold(options: TrainedNetwork) -> str | None:
    """Return the folder's configuration file, or None if it has no threshold for the image size."""
    if not options.from_run or run_of(options) or options.height or options.width:
        return None
    with suppress(UserError):
        file = find_folder(options.from_run) / CONFIG_FILE
        load_threshold(file)
        return str(file)
    return None


def check_result_of(result: str | Path, options: TrainedNetwork) -> None:
    """Raise UserError if a result file holds the features of another network.

    If the features come from an exported file, which may contain this network, the log reports this
    instead.
    """
    found, asked = read_note(result, NETWORK), network_name(options)
    problem = f"{result}: holds the features of {found!r}, not of {asked!r}."
    if Path(found).suffix.lower() in READABLE:
        log.warning(problem)
    elif found and found != asked:
        raise UserError(
            f"{problem} Name that network, or extract the features of this one with test.py."
        )


def tested_network(options: TrainedNetwork) -> NetworkToTest:
    """Return the network in a folder, in the run model/NAME, or in a weight file.

    Raises UserError or FileNotFoundError if there is no such run, checkpoint or network, and
    UserError for options that contradict it or would be ignored.
    """
    if name := run_of(options):
        network, run = run_to_test(options), RunFolder(name)
        weights = run.weights_file(options.which_epoch)
        return NetworkToTest(network, weights, run.num_classes(run.options()))
    if folder := options.from_run:
        names = (*OF_RUN, *OF_FILE, *DESCRIPTION)
        refuse_ignored(options, names, f"{CONFIG_FILE} in {folder} describes the network.")
        return open_pretrained(folder).resized((options.height, options.width))
    refuse_ignored(options, OF_RUN, f"backbone={options.backbone} is a network without a run.")
    if not options.weights:
        raise UserError(
            f"backbone={options.backbone} needs weights=FILE, or none for random weights."
        )
    chosen = options_of(str(options.backbone)) | options.not_default(
        (*DESCRIPTION, "height", "width")
    )
    described = configured(TrainConfig, chosen)
    has_head = chosen.get("neck", "none") != "none" or {"head", "linear_num"} & chosen.keys()
    classes = PUBLISHED_CLASSES if has_head else None  # the features do not depend on it
    check_network(described)
    layers = NetworkOptions.of(asdict(described))
    return NetworkToTest(layers, options.weights, classes, options.seed)


def run_to_test(options: TrainedNetwork) -> NetworkOptions:
    """Return the network options of the selected run, with the requested image size.

    Raises UserError if there is no such run, and for options that contradict it or do
    not apply to it.
    """
    run = RunFolder(run_of(options) or "")
    if options.from_run and options.name not in (None, run.name):
        raise UserError(
            f"from_run={options.from_run} and name={options.name} both name a run: leave one out."
        )
    file = options.weights or ""
    if Path(file).suffix.lower() in READABLE:
        raise UserError(f"{file}: an exported network. Run it as it is: --engine {file}")
    advice = "name its network: backbone=NAME." + did_you_mean(file, network_names())
    named = options.name or options.from_run
    if file and not (named or run.options_file.exists()):
        raise UserError(f"weights={file} is not a run: {advice}")
    refuse_ignored(
        options,
        OF_FILE,
        f"{run.options_file} describes the network of the run. "
        f"For a weight file without a run, {advice}",
    )
    if not (named or run.options_file.exists()):
        raise no_network(run)
    given = options.not_default(DESCRIPTION)
    trained = options_of_run(run, given)
    _refuse_contradictions(given, trained, run)
    height, width = options.height or trained.height, options.width or trained.width
    return replace(trained, height=height, width=width)


def _refuse_contradictions(
    given: Mapping[str, Any], trained: NetworkOptions, run: RunFolder
) -> None:
    """Raise UserError if options {option: value} contradict a run's network."""
    for option, value in given.items():
        name, asked = (
            ("backbone", NETWORK_FLAGS[option]) if option in NETWORK_FLAGS else (option, value)
        )
        found = getattr(trained, name)
        if found != asked:
            raise UserError(
                f"{named(option, value)} contradicts {run.options_file} ({name}: {found}). "
                "A run is tested as it was trained: leave that out, or name another run."
            )


def refuse_ignored(options: Options, names: Iterable[str], reason: str) -> None:
    """Raise UserError if one of these options was given. reason: why it has no effect."""
    if given := options.not_default(names):
        raise UserError(f"{', '.join(given)} would be ignored: {reason}")


def open_embedder(
    options: TestConfig,
    target: Callable[[tuple[int, int]], torch.Tensor] | None = None,
    device: torch.device | None = None,
) -> Embedder:
    """Return the Embedder that options describe.

    device: by default, the device that the options name.
    target: (height, width) → the bank of images from which batch-norm statistics are taken.

    Raises UserError for options that exclude each other.
    """
    device = device or select_device(options.gpu_ids)
    settings = embedder_settings(options)
    engine = options.engine
    if engine and Path(engine).suffix.lower() not in READABLE:
        raise UserError(f"{engine}: expected a file that ends in {', '.join(READABLE)}.")
    if engine or not target:
        return Embedder(engine or tested_network(options), device=device, **settings)
    with TemporaryDirectory() as folder:
        tested = tested_network(options)
        network = load_network(tested)
        reestimate_batch_norms(network, target(tested.size), device, settings["dtype"])
        weights = Path(folder, "adapted.pth")
        save_tensors(network.state_dict(), weights)
        return Embedder(replace(tested, weights=weights, seed=None), device=device, **settings)


def embedder_settings(options: TestConfig) -> dict[str, Any]:
    """Translate options into the arguments of Embedder, except network and device."""
    if options.engine and (decided := options.not_default(DECIDED)):
        raise UserError(
            f"{options.engine}: {', '.join(decided)} was decided when the file was written; "
            "leave it out."
        )
    prepared = options.not_default(PREPARED) if options.engine else {}
    return {
        "flip": False if options.no_flip else None,
        "batch_size": options.batchsize,
        "scales": parse_scales(options.ms),
        "dtype": dtype_of(options),
        "unit_length": not options.no_norm,
        "runtime": options.runtime,
        "preparation": _preparation(options, prepared) if prepared else None,
        "output": options.feature_output,
    }


def _preparation(options: TestConfig, given: Iterable[str]) -> Preparation:
    """Return the preprocessing for an exported file."""
    mean, std = (
        tuple(map(float, text.split(","))) if text else None for text in (options.mean, options.std)
    )
    up_to = 255 if options.range == "0..255" else 1
    words = ", ".join(as_flag(name) for name in given)
    return Preparation(
        mean=mean,
        std=std,
        bgr=options.bgr,
        up_to=up_to,
        size=(options.height, options.width),
        given=words,
    )


@torch.inference_mode()
def reestimate_batch_norms(
    network: Network, bank: torch.Tensor, device: torch.device, dtype: torch.dtype | None = None
) -> None:
    """Re-estimate the running statistics of all batch norms, in place, on a bank of images.

    bank: (N, H, W, 3) uint8.

    Each statistic is the mean over batches of images in random order, so that a batch resembles the
    whole. Afterwards, the network is in evaluation mode. dtype: the type for autocast. Raises
    UserError if the network has no batch norm, or if there are fewer than two images. Li et al.,
    Revisiting Batch Normalization For Practical Domain Adaptation, ICLR 2017.
    """
    norms = [
        module
        for module in network.modules()
        if isinstance(module, _BatchNorm) and module.track_running_stats
    ]
    if not norms or len(bank) < 2:
        found = "the network has no batch norm" if not norms else "a single image has no statistics"
        raise UserError(f"adapt_bn: {found}. Leave it out.")
    network.to(device).eval()
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
        norm.momentum = None  # a plain mean over the batches
    order = torch.randperm(len(bank), generator=torch.Generator().manual_seed(0))
    # The batches have about the same size, so that none is too small.
    batches = order.tensor_split(-(-len(bank) // STATISTICS_BATCH))
    for indices in progress(batches, desc="batch norms"):
        with autocast(device, dtype):
            network.embed(normalise(bank[indices].to(device)))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()

# PYTHON_ARGCOMPLETE_OK
"""Compare other packages with the suite: do results agree, and what do they cost?

    python benchmarks/peers/packages.py --result pytorch_result.mat
    python benchmarks/peers/packages.py --what features training \\
      --weights osnet_x0_25_msmt17.pth --data_dir ../Market/pytorch

All packages read the same files. Every measurement runs in its own process; the rows alternate, and
the tables show medians. Scripts are timed from start to end, functions once everything is imported.
The peers are as published, except that what Python and NumPy have since removed is added back.
Prints Markdown tables. To set the peers up:

    git clone https://github.com/KaiyangZhou/deep-person-reid ../torchreid
    git clone https://github.com/JDAI-CV/fast-reid ../fast-reid
    git clone https://github.com/layumi/Person_reID_baseline_pytorch ../baseline
    python -m pip install cython faiss-cpu gdown opencv-python-headless \\
      scikit-learn tabulate termcolor yacs
    (cd ../torchreid && python setup.py build_ext --inplace)
    (cd ../fast-reid/fastreid/evaluation/rank_cylib && python setup.py build_ext --inplace)
"""

import collections
import collections.abc
import contextlib
import os
import re
import statistics
import sys
import tempfile
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.speed.training import suite_loop, timed
from benchmarks.support.measure import (
    ROOT,
    SIZES,
    apart,
    describe,
    machine,
    make_result,
    own_peak,
    run_process,
)
from benchmarks.support.parser import Parser
from person_reid.console import run_script
from person_reid.data.layout import JUNK, read_split
from person_reid.errors import UserError
from person_reid.retrieval.results import load_result

NETWORK, SIZE = "osnet_x0_25", (256, 128)
ROUNDS = 3  # runs of each row
IMAGES, BATCH, STEPS = 512, 64, 30  # images to compute features of; images and steps of training
SET_UP = "`python benchmarks/peers/packages.py --help` shows how to set the peers up."
OLD_SCRIPT = """
import numpy, os, runpy, sys
os.chdir({folder!r})
sys.path.insert(0, {baseline!r})
numpy.in1d = numpy.isin
runpy.run_module({name!r}, None, "__main__")
"""


def main(argv=None):
    """Print the tables."""
    parser = Parser(__doc__)
    for name in ("torchreid", "fast_reid", "baseline"):
        checkout = ROOT.parent / name.replace("_", "-")
        parser.add_argument(f"--{name}", type=Path, default=checkout, help="its checkout")
    parser.add_argument("--what", nargs="+", choices=TABLES, default=[*TABLES], help="only these")
    parser.add_argument("--result", type=Path, help="features to rank, in place of synthetic ones")
    parser.add_argument("--weights", help=f"weights of {NETWORK}, for features")
    parser.add_argument(
        "--data_dir", type=Path, default="../Market/pytorch", help="layout, in Market-1501's folder"
    )
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "pytorch_result.mat"  # the name that the baseline reads
        if options.result:
            result.symlink_to(options.result.resolve())
        else:
            apart(make_result, result, *SIZES["market"])
        options.result = result
        print(f"{machine()}; features {apart(describe, result)[0]}; {NETWORK}, {SIZE[0]}×{SIZE[1]}")
        for name in options.what:
            title, unit, rows = TABLES[name]
            print(f"\n| {title} | {unit} | ratio | peak GB | result |\n|{'---|' * 5}", flush=True)
            compare(rows, unit, options)


def compare(rows, unit, options):
    """Print the rows {name: work}; the ratio says how many times better the first row is."""
    runs: dict = {name: [] for name in rows}
    for _ in range(ROUNDS):
        for name, work in rows.items():
            runs[name].append(apart(work, options=options))
    first = reference = None
    for name, found in runs.items():
        figures, peaks, results = zip(*found, strict=True)
        figure, peak, result = statistics.median(figures), statistics.median(peaks), results[0]
        if first is None:
            first, reference = figure, result
        ratio = figure / first if unit == "s" else first / figure
        text = result if isinstance(result, str) else agreement(result, reference)
        print(f"| {name} | {figure:.3g} | {ratio:.2f} | {peak:.2f} | {text} |", flush=True)


def agreement(features, reference):
    """Describe how similar two feature arrays (N, D) of the same images are."""
    features, reference = (
        each / np.linalg.norm(each, axis=1, keepdims=True) for each in (features, reference)
    )
    cosines = (features * reference).sum(1)
    return f"cosine {cosines.mean():.4f}, at least {cosines.min():.4f}"


def script(name, options, old=False):
    """Time our script `name` or, if `old`, the baseline's, which reads from the current folder."""
    if old:
        folder, baseline = str(options.result.parent), str(options.baseline.resolve())
        code = OLD_SCRIPT.format(folder=folder, baseline=baseline, name=Path(name).stem)
        seconds, memory, output = run_process("-c", code)
    else:
        seconds, memory, output = run_process(name, "--result", options.result)
    rank, precision = re.findall(r"(?:Rank@1|top1):([\d.]+).*?mAP:([\d.]+)", output)[-1]
    return seconds, memory, f"{100 * float(rank):.2f} / {100 * float(precision):.2f}"


def metrics(options):
    """Time our metrics for features in memory."""
    from person_reid.retrieval.metrics import evaluate

    query, gallery = without_junk(options.result)
    began = time.perf_counter()
    found = evaluate(query, gallery, "step")
    return measured(began, found.rank(1), found.mAP)


def metrics_of_torchreid(options):
    """Time torchreid's metrics, compiled with Cython, as its Engine computes them from features."""
    with import_from(options.torchreid):
        from torchreid import metrics
        from torchreid.metrics.rank import IS_CYTHON_AVAI
    query, gallery, labels = for_peers(options.result, IS_CYTHON_AVAI, options.torchreid)
    began = time.perf_counter()
    distances = metrics.compute_distance_matrix(query, gallery, "cosine").numpy()
    cmc, precision = metrics.evaluate_rank(distances, *labels)
    return measured(began, cmc[0], precision)


def metrics_of_fast_reid(options):
    """Time fast-reid's metrics, compiled with Cython, as its ReidEvaluator computes them."""
    with import_from(options.fast_reid):
        from fastreid.evaluation.rank import IS_CYTHON_AVAI, evaluate_rank
        from fastreid.utils.compute_dist import build_dist
    query, gallery, labels = for_peers(options.result, IS_CYTHON_AVAI, options.fast_reid)
    began = time.perf_counter()
    cmc, precisions, _ = evaluate_rank(build_dist(query, gallery, "cosine"), *labels)
    return measured(began, cmc[0], np.mean(precisions))


def for_peers(result, compiled, folder):
    """Return features as tensors, and labels and cameras ordered as evaluate_rank expects them."""
    if not compiled:
        raise UserError(f"{folder}: its Cython module is not built. {SET_UP}")
    import torch

    query, gallery = without_junk(result)
    labels = query.labels, gallery.labels, query.cameras, gallery.cameras
    return torch.from_numpy(query.features), torch.from_numpy(gallery.features), labels


def without_junk(result):
    """Return query and gallery without junk, which the peers drop beforehand."""
    query, gallery = load_result(result)
    return query, gallery.select(np.flatnonzero(gallery.labels != JUNK))


def features(options):
    """Time our Embedder on image files, which it decodes."""
    from person_reid import Embedder

    return features_by(Embedder(NETWORK, options.weights, "cpu", flip=False), options)


def features_of_torchreid(options):
    """Time torchreid's FeatureExtractor on image files, 32 per call."""
    with import_from(options.torchreid):
        from torchreid.utils import FeatureExtractor
    with contextlib.redirect_stdout(None):
        embed = FeatureExtractor(NETWORK, str(options.weights), SIZE, device="cpu", verbose=False)
    return features_by(
        lambda paths: np.concatenate([embed(paths[i : i + 32]) for i in range(0, len(paths), 32)]),
        options,
    )


def features_by(embed, options):
    """Time embed(paths), after a first call on other images.

    Returns (images per second, peak gigabytes, features).
    """
    paths = [*map(str, read_split(options.data_dir, "gallery").paths[: IMAGES + 64])]
    embed(paths[IMAGES:])
    began = time.perf_counter()
    features = embed(paths[:IMAGES])
    return IMAGES / (time.perf_counter() - began), own_peak(), features


def training(*flags, options):
    """Time our training step: cross entropy on Market's images."""
    own = {"data_dir": options.data_dir, "backbone": NETWORK, "weights": "none", "gpu_ids": "-1"}
    own |= {"height": SIZE[0], "width": SIZE[1], "batchsize": BATCH, "steps": STEPS}
    return *suite_loop(own, ["--label_smoothing=0.1", *flags]), ""


def training_of_torchreid(options):
    """Time the step of torchreid's ImageSoftmaxEngine with its own loader and the same loss."""
    with import_from(options.torchreid):
        import torch
        import torchreid
    market = options.result.parent / "market1501"
    if not market.exists():  # where torchreid looks for it
        market.symlink_to(options.data_dir.resolve().parent)
    sizes = {"height": SIZE[0], "width": SIZE[1], "batch_size_train": BATCH}
    crops = {"transforms": ["random_flip", "random_crop"], "workers": os.cpu_count()}
    with contextlib.redirect_stdout(None):
        data = torchreid.data.ImageDataManager(
            str(market.parent), "market1501", use_gpu=False, **sizes, **crops
        )
        network = torchreid.models.build_model(
            NETWORK, data.num_train_pids, "softmax", pretrained=False, use_gpu=False
        )
        optimiser = torchreid.optim.build_optimizer(network, "sgd", 0.05)
        engine = torchreid.engine.ImageSoftmaxEngine(data, network, optimiser, use_gpu=False)
    engine.set_model_mode("train")
    sizes = {"batchsize": BATCH, "steps": STEPS}
    loader, step = engine.train_loader, engine.forward_backward
    return *timed(lambda _: loader, step, sizes, torch.device("cpu")), ""


@contextlib.contextmanager
def import_from(folder):
    """Let a `with` block import a peer from a checkout. Raises UserError if a module is missing."""
    sys.path.insert(0, str(folder.resolve()))
    collections.Mapping = collections.abc.Mapping  # type: ignore[attr-defined]
    warnings.simplefilter("ignore")
    try:
        yield
    except ImportError as error:
        raise UserError(f"{folder}: {error}. {SET_UP}") from error


def measured(began, rank, precision):
    """Return (seconds, peak gigabytes, both metrics in per cent)."""
    return time.perf_counter() - began, own_peak(), f"{100 * rank:.2f} / {100 * precision:.2f}"


def both(name):
    """Return the rows for a script that the baseline also has."""
    return {"ours": partial(script, name), "the baseline's": partial(script, name, old=True)}


# {name: (title, unit, {row: what to time})}; other rows are compared with the first
TABLES: dict = {
    "evaluate": ("evaluate.py, from start to end", "s", both("evaluate.py")),
    "evaluate_rerank": ("evaluate_rerank.py, from start to end", "s", both("evaluate_rerank.py")),
    "metrics": (
        "metrics of features in memory, step AP",
        "s",
        {
            "ours": metrics,
            "torchreid, Cython": metrics_of_torchreid,
            "fast-reid, Cython": metrics_of_fast_reid,
        },
    ),
    "features": (
        "features of image files, one view",
        "images/s",
        {"Embedder": features, "torchreid's FeatureExtractor": features_of_torchreid},
    ),
    "training": (
        "training, cross entropy",
        "images/s",
        {
            "TrainingStep": training,
            "TrainingStep, --bf16": partial(training, "--bf16"),
            "torchreid's ImageSoftmaxEngine": training_of_torchreid,
        },
    ),
}


if __name__ == "__main__":
    run_script(main)

"""Cases of hostile.py that are calls from Python, with values that nobody should hand over.

A call succeeds, or it raises an exception of this package that says why: a UserError, an OSError,
a TypeError or a ValueError. An exception that rises from the inside of NumPy, PyTorch or SQLite is
a failure.
"""

import traceback
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch

import person_reid
from benchmarks.robustness.cases import Case

N, WIDTH = 6, 8
PACKAGE = str(Path(person_reid.__file__).parent)
LABELS = np.arange(N) % 3
CAMERAS = np.arange(N) // 3


def features():
    """Return a few features of unit length."""
    drawn = np.random.default_rng(0).normal(size=(N, WIDTH)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def odd_values():
    """Return what stands in the place of an array, a number or a name."""
    good = features()
    empty, broken = good[:0], good.copy()
    broken[2, 3] = np.nan
    endless = np.where(np.isnan(broken), np.inf, broken)
    return {
        "None": None,
        "a text": "features",
        "bytes": b"features",
        "a number": 3,
        "a fraction": 1.5,
        "a huge number": 2**62,
        "not a number": float("nan"),
        "a truth": True,
        "a dictionary": {"a": 1},
        "a generator": (row for row in good),
        "an object": object(),
        "a list": good.tolist(),
        "an uneven list": [[1.0, 2.0], [1.0]],
        "texts": np.array([["a"] * WIDTH] * N),
        "objects": good.astype(object),
        "masked": np.ma.masked_less(good, 0),
        "complex": good.astype(complex),
        "whole numbers": np.ones((N, WIDTH), np.int64),
        "truths": np.ones((N, WIDTH), bool),
        "half": good.astype(np.float16),
        "double": good.astype(np.float64),
        "nothing": empty,
        "one dimension": good[0],
        "three dimensions": good[None],
        "no dimension": np.float32(1),
        "another width": good[:, :3],
        "NaN": broken,
        "infinite": endless,
        "a tensor": torch.from_numpy(good),
        "a bfloat16 tensor": torch.from_numpy(good).bfloat16(),
        "a tensor with a gradient": torch.from_numpy(good).requires_grad_(),
        "a sparse tensor": torch.from_numpy(good).to_sparse(),
        "a quantised tensor": torch.quantize_per_tensor(
            torch.from_numpy(good), 0.1, 0, torch.qint8
        ),
        "a tensor without values": torch.from_numpy(good).to("meta"),
        "dates": np.full((N, WIDTH), np.datetime64("2026-11-01")),
        "labels that are a column": LABELS[:, None],
        "labels with fractions": LABELS + 0.5,
    }


def sets(chosen=None, labels=LABELS, cameras=CAMERAS):
    """Return two feature sets; the first from what was handed over."""
    query = person_reid.FeatureSet(features() if chosen is None else chosen, labels, cameras)
    return query, person_reid.FeatureSet(features(), LABELS, CAMERAS + 5)


def index():
    """Return an index of a few images."""
    gallery = person_reid.SearchIndex("python.index")
    paths = [f"{number}.jpg" for number in range(N)]
    for path in paths:
        Path(path).write_bytes(b"an image")
    gallery.add(paths, features())
    return gallery, paths


def scored(scores):
    """Evaluate scores that were handed over."""
    query, gallery = sets()
    return person_reid.evaluate(query, gallery, scores=scores)


def rescored(method, value):
    """Re-rank what was handed over."""
    options = person_reid.RerankOptions(method=method, k1=3, k2=2)
    return person_reid.rescorer(options)(value, features())


def judged(name, value):
    """Compute a loss of what was handed over."""
    loss = person_reid.create_loss(name)
    return loss(value, torch.from_numpy(LABELS))


def labelled(name, value):
    """Compute a loss with labels that were handed over."""
    return person_reid.create_loss(name)(torch.from_numpy(features()), value)


@cache
def calls():
    """Return the calls: each takes one odd value."""
    reid = person_reid
    small = partial(reid.create_model, "osnet_x0_25")
    return {
        "evaluate, features": lambda v: reid.evaluate(*sets(v)),
        "evaluate, labels": lambda v: reid.evaluate(*sets(labels=v)),
        "evaluate, cameras": lambda v: reid.evaluate(*sets(cameras=v)),
        "evaluate, scores": scored,
        "evaluate, query": lambda v: reid.evaluate(v, sets()[1]),
        "rank": lambda v: reid.evaluate(*sets()).rank(v),
        "save_result": lambda v: reid.save_result("python.mat", *sets(v)),
        "save_result, path": lambda v: reid.save_result(v, *sets()),
        "load_result": reid.load_result,
        "k-reciprocal": partial(rescored, "k-reciprocal"),
        "aqe": partial(rescored, "aqe"),
        "RerankOptions, k1": lambda v: reid.RerankOptions(k1=v),
        "CameraNorm": lambda v: reid.CameraNorm(v, CAMERAS),
        "CameraNorm, cameras": lambda v: reid.CameraNorm(features(), v),
        "Whitening": reid.Whitening,
        "SearchIndex": reid.SearchIndex,
        "add, features": lambda v: index()[0].add([f"{n}.jpg" for n in range(N)], v),
        "add, paths": lambda v: index()[0].add(v, features()),
        "search": lambda v: index()[0].search(v, k=2),
        "search, k": lambda v: index()[0].search(features(), k=v),
        "search, among": lambda v: index()[0].search(features(), k=2, among=v),
        "describe": lambda v: index()[0].describe(v),
        "forget": lambda v: index()[0].forget(v, "asked"),
        "identify": lambda v: reid.identify(index()[0], v, 0.9),
        "identify, threshold": lambda v: reid.identify(index()[0], features(), v),
        "triplet": partial(judged, "triplet_hard"),
        "triplet, labels": partial(labelled, "triplet_hard"),
        "circle, labels": partial(labelled, "circle"),
        "create_loss": reid.create_loss,
        "create_loss, margin": lambda v: reid.create_loss("triplet_hard", margin=v),
        "create_model": reid.create_model,
        "create_model, size": lambda v: small(size=v),
        "create_model, classes": lambda v: small(num_classes=v),
        "create_model, weights": lambda v: small(weights=v),
        "NetworkOptions, height": lambda v: reid.NetworkOptions(height=v),
        "FitOptions, lr": lambda v: reid.FitOptions(lr=v),
        "FitOptions, loss": lambda v: reid.FitOptions(loss=v),
        "fit, dataset": lambda v: reid.fit(small(num_classes=3, size=(64, 32)), v),
        "fit, network": lambda v: reid.fit(v, reid.read_dataset("people/pytorch")),
        "extract": lambda v: reid.extract(v, reid.read_dataset("people/pytorch")),
        "read_dataset": reid.read_dataset,
        "load_weights": lambda v: reid.load_weights(small(), v),
        "Embedder": reid.Embedder,
        "Embedder, images": lambda v: embedder()(v),
        "Embedder, boxes": lambda v: embedder().crops(np.zeros((64, 32, 3), np.uint8), v),
    }


def embedder():
    """Return an embedder with random weights."""
    return person_reid.Embedder("osnet_x0_25", weights="none", size=(64, 32), device="cpu")


def cases_of_python():
    """Yield a case for each call and each odd value."""
    for name in calls():
        for title in odd_values():
            yield Case("call from Python", "python", [name, title], title, call=hand_over)


def hand_over(command, words, before):
    """Call a function with an odd value; a refusal ends as a command's does."""
    name, title = words
    try:
        calls()[name](odd_values()[title])
    except (person_reid.UserError, OSError, TypeError, ValueError) as error:
        if not is_ours(error):
            raise
        print(f"error: {error}")
        raise SystemExit(1) from error


def is_ours(error):
    """Return whether an exception was raised by this package, or by calling it wrongly."""
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    return files[-1].startswith(PACKAGE) or files[-1] == __file__

# PYTHON_ARGCOMPLETE_OK
"""Measure the similarity above which images show one person, and the errors at this threshold.

    python tools/threshold.py
    python tools/threshold.py --test_dir ../Market/pytorch # with the network in the package
    python tools/threshold.py --rates 1e-2,1e-3,1e-6       # TPR (TAR) at any FPR (FAR)
    python tools/threshold.py --rule 1e-3 --save market_threshold  # and a plot in .png

A pair is a query and a gallery image from different cameras: genuine if both show the same person,
otherwise an impostor. --rule eer chooses the threshold at which the share of accepted impostors
equals the share of rejected genuine pairs; 1e-3 and 1e-4 accept that share of impostors; hardest is
eer for each query's least similar genuine pair and most similar impostor.

    python tools/threshold.py --for person                 # for search.py identify
    python tools/threshold.py --for track                  # for across.py and people.py

identify compares an image with all images of a person, and across.py compares whole tracks. These
are different scores, so each needs its own threshold, and a command rejects a threshold for another
score.

    python tools/threshold.py --false_match_rate 1e-3 --confidence 0.95    # for pairs
    python tools/threshold.py --false_match_rate 1e-2 --gallery_size 5000  # for searches

These thresholds have a bound: with this confidence, other people in front of the same cameras are
falsely matched no more often than requested. A bound needs at least 50 people; with too few, the
program prints how many it needs. For pairs, each pair of cameras also gets its own threshold.
compare.py, search.py, demo.py and save_pretrained.py print the bound. Distractors count for the
rules, but not for the bound.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import person_reid as reid
from person_reid.config.forms import output_path, rates
from person_reid.config.look import Look
from person_reid.config.option import ANY, SHARE, WHOLE, Options, option
from person_reid.config.zoo import PACKAGED_NETWORK
from person_reid.console import parse, run_script
from person_reid.console.named_network import network_named
from person_reid.console.outputs import check_beside, check_outputs
from person_reid.files import with_ending, write_json
from person_reid.gallery.score_histograms import person_similarities, track_similarities
from person_reid.retrieval.bound import Bound, bounded_threshold, people_of
from person_reid.retrieval.results import FEATURE_FLAGS, NETWORK, read_notes
from person_reid.retrieval.thresholds import (
    FALSE_POSITIVE_RATES,
    MEASURED_ON,
    ROUNDING,
    PairSimilarities,
    error_rates,
    holds_threshold,
    pair_similarities,
    roc,
)
from person_reid.show.charts import draw_similarities

COMPARED = ("pair", "person", "track")
RULE_NAMES = ("eer", "1e-3", "1e-4", "hardest")
BOUND = {"false_match_rate": ANY}


class ThresholdOptions(Options, title="threshold"):
    """The pairs to measure, the rule, and where to write the result."""

    result: str = option("pytorch_result.mat", "features written by test.py", metavar="FILE")
    test_dir: str | None = option(
        None, "folder that holds query and gallery, to measure instead of a result", metavar="DIR"
    )
    network: str = option(
        PACKAGED_NETWORK,
        "network to measure there, as for compare_networks.py",
        needs={"test_dir": ANY},
    )
    rule: str | None = option(
        None, "how the threshold is chosen (default: eer)", choices=RULE_NAMES
    )
    rates: str = option(
        "1e-3,1e-4", "false positive rates at which the TPR is printed", form=rates, metavar="R,R"
    )
    compared: str = option(
        "pair",
        "what is compared: two images, an image and a person (identify), two tracks (across.py)",
        choices=COMPARED,
        flags=("--for",),
    )
    camera_norm: bool = option(False, "give the features of every camera the same mean")
    ignore_cameras: bool = option(False, "also count pairs from the same camera")
    save: str = option("threshold", "name of the .json and .png to write", form=output_path)


class BoundOptions(Options, title="a threshold with a bound"):
    """The rate at which strangers may be accepted, and the confidence in this bound."""

    false_match_rate: float | None = option(
        None, "largest share of strangers accepted", range=SHARE, metavar="RATE"
    )
    confidence: float = option(0.95, "probability that the rate is kept", range=SHARE, needs=BOUND)
    gallery_size: int | None = option(
        None,
        "count searches among N images that accept a stranger, not pairs; without N, or for 0, "
        "among as many as were tested",
        range=WHOLE,
        bare=0,
        needs=BOUND,
    )


class ThresholdConfig(Look, BoundOptions, ThresholdOptions):
    """All options of tools/threshold.py."""

    def fault(self) -> str:
        """Return why the options conflict, or "" if they do not."""
        if self.test_dir and self.not_default(("result",)):
            return "test_dir replaces result: leave one out."
        if self.compared == "track" and self.camera_norm:
            return f"camera_norm would be ignored: for={self.compared} always levels the cameras."
        if self.rule and self.false_match_rate is not None:
            return "rule and false_match_rate both choose the threshold: leave one out."
        if self.compared != "pair" and self.false_match_rate is not None:
            return (
                f"false_match_rate is about images, not about for={self.compared}: leave one out."
            )
        return ""


def main(argv: list[str] | None = None) -> None:
    """Measure a threshold, print it, and write SAVE.json and SAVE.png."""
    config = parse(ThresholdConfig, argv, __doc__)
    figures, plot = (with_ending(config.save, it, ".json", ".png") for it in (".json", ".png"))
    check_outputs(config, save=[figures, plot])
    check_beside("save", figures, plot)
    if figures.is_file() and not holds_threshold(figures):
        raise reid.UserError(
            f"save={figures}: not a file of this program. Move it, or choose another name."
        )

    pairs, report = on_labels(config)
    draw_similarities(pairs, report["threshold"], plot, config)
    write_json(figures, report)
    print(f"{figures}, {plot}")


def on_labels(config: ThresholdConfig) -> tuple[PairSimilarities, dict[str, Any]]:
    """Measure pairs of labelled images; return their similarities and the entries for SAVE.json."""
    query, gallery, notes = extracted(config) if config.test_dir else stored(config)
    if config.camera_norm:
        norm = reid.CameraNorm(gallery.features, gallery.cameras)
        query, gallery = norm.of(query), norm.of(gallery)
    pairs = similarities(query, gallery, config)
    found = tell_rates(pairs, config)

    asked = config.rule or "eer"
    kind, rule = ("hardest_per_query", "eer") if asked == "hardest" else ("all_pairs", asked)
    threshold = found[kind]["rules"][rule]["threshold"]
    if threshold > 1 and config.false_match_rate is None:
        raise reid.UserError(
            f"rule={asked}: no threshold can meet it, because images of different people have a "
            "similarity of 1. Check the labels and the network, or take another rule."
        )
    report = {
        "threshold": threshold,
        "rule": asked,
        "result": config.test_dir or config.result,
        **found,
    }
    report |= {"for": config.compared, "protocol": protocol(config)}
    report["camera_norm"] = config.camera_norm
    report |= {
        name: note for name, note in zip((MEASURED_ON, FEATURE_FLAGS), notes, strict=True) if note
    }
    if config.false_match_rate is None:
        print(f"threshold {threshold:.4f} ({asked})")
    else:
        report |= bounds(query, gallery, config)
        threshold = report["threshold"]
        curve = roc(pairs.genuine, pairs.impostor)
        share = curve.true_positives[np.searchsorted(curve.thresholds, threshold - ROUNDING)]
        print(f"threshold {threshold:.4f} (TPR {share:.4f})")
    return pairs, report


def stored(config: ThresholdConfig) -> tuple[reid.FeatureSet, reid.FeatureSet, Sequence[str]]:
    """Return a result's query and gallery, its network, and its test.py flags."""
    query, gallery = reid.load_result(config.result, paths=config.compared == "track")
    return query, gallery, read_notes(config.result, NETWORK, FEATURE_FLAGS)


def extracted(config: ThresholdConfig) -> tuple[reid.FeatureSet, reid.FeatureSet, Sequence[str]]:
    """Return the same as `stored`, for a folder, with features that a network computes now."""
    # imported only here, as a result is measured without torch
    from person_reid.deploy.network_names import feature_flags
    from person_reid.deploy.publish import query_and_gallery

    network = network_named(config.network, "network", "0")
    query, gallery = query_and_gallery(reid.open_embedder(network), str(config.test_dir))
    return query, gallery, (reid.network_name(network), feature_flags(network))


def tell_rates(pairs: PairSimilarities, config: ThresholdConfig) -> dict[str, Any]:
    """Print the error rates, and return them."""
    rates_asked = {name: float(name) for name in config.rates.split(",")}
    found = error_rates(pairs, FALSE_POSITIVE_RATES | rates_asked)
    for name, errors in found.items():
        rules = errors["rules"]
        print(
            f"{name.replace('_', ' ')}: {errors['genuine']} genuine, {errors['impostor']} impostor"
        )
        print(f"  EER {rules['eer']['error']:.4f} at threshold {rules['eer']['threshold']:.4f}")
        for rate in rates_asked:
            kept = rules[rate]
            print(f"  TPR {kept['tpr']:.4f} at FPR {rate}, threshold {kept['threshold']:.4f}")
    return found


def similarities(
    query: reid.FeatureSet, gallery: reid.FeatureSet, config: ThresholdConfig
) -> PairSimilarities:
    """Return the histograms of the requested scores."""
    if config.compared == "pair":
        return pair_similarities(query, gallery, config.ignore_cameras)

    if config.compared == "person":
        return person_similarities(query, gallery, config.ignore_cameras)
    return track_similarities(query, gallery, config.ignore_cameras)


def protocol(config: ThresholdConfig) -> str:
    """Describe the compared pairs."""
    cameras = "any camera" if config.ignore_cameras else "another camera"
    return {
        "pair": f"a query image and a gallery image from {cameras}",
        "person": f"a query image and all of a person's gallery images from {cameras}",
        "track": f"the mean of a track and the mean of a track from {cameras}",
    }[config.compared]


def bounds(
    query: reid.FeatureSet, gallery: reid.FeatureSet, config: ThresholdConfig
) -> dict[str, Any]:
    """Print the bound and, without a gallery size, one per pair of cameras; return what to save."""
    size = 1  # pairs
    if config.gallery_size is not None:
        size = config.gallery_size or len(people_of(query, gallery)[1])
    asked = config.false_match_rate or 0.0, config.confidence
    found = bounded_threshold(query, gallery, *asked, size, config.ignore_cameras)
    print(found)
    of_pairs: dict[str, Any] = {}
    if size == 1 and not config.ignore_cameras:
        for cameras, bound in of_cameras(query, gallery, *asked):
            if isinstance(bound, Bound):
                of_pairs[cameras] = asdict(bound)
            words = (
                bound
                if isinstance(bound, str)
                else f"threshold {bound.threshold:.4f}, {bound.people} people"
            )
            print(f"  cameras {cameras}: {words}")
    return {
        "threshold": found.threshold,
        "rule": "promise",
        "promise": asdict(found),
        "cameras": of_pairs,
    }


def of_cameras(
    query: reid.FeatureSet, gallery: reid.FeatureSet, rate: float, confidence: float
) -> Iterator[tuple[str, Bound | str]]:
    """Yield each pair of cameras, such as "1-2", and the Bound for images from the pair.

    A bound that cannot be computed is replaced by the reason.
    """
    cameras = np.union1d(query.cameras, gallery.cameras)
    for pair in combinations(cameras.tolist() if len(cameras) > 2 else [], 2):
        asked, there = (
            each.select(np.flatnonzero(np.isin(each.cameras, pair))) for each in (query, gallery)
        )
        if not len(asked) or not len(there):
            continue
        try:
            bound: Bound | str = bounded_threshold(asked, there, rate, confidence)
        except reid.UserError as error:
            bound = str(error).partition(". ")[0]
        yield f"{pair[0]}-{pair[1]}", bound


if __name__ == "__main__":
    run_script(main)

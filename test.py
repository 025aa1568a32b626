# PYTHON_ARGCOMPLETE_OK
"""Extract the features of query and gallery, and evaluate them.

    python test.py --name ft_ResNet50 --test_dir ../Market/pytorch
    python test.py --name ft_ResNet50 --which_epoch 60 --ms 1,1.1,1.2 --multi
    python test.py --backbone osnet_x0_25 --weights osnet_x0_25_msmt17.pth  # a weight file
    python test.py --backbone resnet50 --PCB --weights pcb.pth              # a network with parts
    python test.py --name ft_ResNet50 --gpu_ids -1 --runtime auto           # faster on a CPU
    python test.py --name ft_ResNet50 --adapt_bn --camera_norm              # fitted to these images
    python test.py --engine osnet.onnx                                      # an exported file
    python test.py --name ft_ResNet50 --tracks --test_dir ../MARS/pytorch   # features of tracklets
    torchrun --standalone --nproc_per_node 4 test.py                        # four GPUs

Writes pytorch_result.mat (and multi_query.mat with --multi), prints the metrics and adds them to
model/NAME/result.txt.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import person_reid as reid
from person_reid.config.tested import TestConfig
from person_reid.console import parse, run_script
from person_reid.console.outputs import check_outputs
from person_reid.files import write_json
from person_reid.retrieval.results import PLAIN, RESULT
from person_reid.retrieval.similarity import DISTANCES
from person_reid.text import as_command, counted, quoted

if TYPE_CHECKING:
    import torch


def main(argv: list[str] | None = None) -> None:
    """Extract, evaluate and write."""
    test(parse(TestConfig, argv, __doc__))


def test(config: TestConfig) -> None:
    """Test the network that the options name on the images in test_dir."""
    multi = reid.multi_query_file(config.result) if config.multi else None
    check_outputs(config, result=[config.result, multi], json=[config.json])
    names, problem = ["query", "gallery"], None
    if config.multi:
        try:
            reid.read_split(config.test_dir, "multi-query")
            names.append("multi-query")
        except reid.UserError as error:
            problem = error  # what single queries need is extracted anyway
    with reid.join_world(config.gpu_ids) as world:
        config = replace(config, gpu_ids=world.gpu(config.gpu_ids))

        # The names of all images and the weights are read before any image is decoded, so that a
        # mistake costs no time.
        splits = {name: reid.read_split(config.test_dir, name) for name in names}
        tracks = {name: reid.tracklets_of(splits[name].paths) for name in names if config.tracks}
        of_gallery = partial(bank_of, splits["gallery"], config, world)
        embedder = reid.open_embedder(config, of_gallery if config.adapt_bn else None)
        sets = {
            name: extract(name, splits[name], tracks.get(name), embedder, config, world)
            for name in names
        }

        # Both are fitted to the gallery, and need no labels.
        gallery = sets["gallery"]
        if config.camera_norm:
            standardise = config.camera_norm == "standardise"
            norm = reid.CameraNorm(gallery.features, gallery.cameras, standardise)
            sets = {name: norm.of(images) for name, images in sets.items()}
        if config.whiten:
            whitening = reid.Whitening(sets["gallery"].features)
            sets = {name: whitening.of(images) for name, images in sets.items()}
        if world.is_main:
            report(config, **{name.replace("-", "_"): images for name, images in sets.items()})
    if problem:
        raise problem


def bank_of(
    gallery: reid.Split, config: TestConfig, world: "reid.World", size: tuple[int, int]
) -> "torch.Tensor":
    """Return the gallery's images, from which batch-norm statistics are taken."""
    with world.main_process_first():
        cache = Path(config.test_dir) / ".cache"
        return reid.load_bank(gallery.paths, *size, cache, "gallery")


def extract(
    name: str,
    split: reid.Split,
    tracklets: Sequence[str] | None,
    embedder: "reid.Embedder",
    config: TestConfig,
    world: "reid.World",
) -> reid.FeatureSet:
    """Return the features of a split or of its tracklets; the processes share the images."""
    started = time.perf_counter()
    # Only networks with side information ask for the cameras.
    cameras = world.shard(split.cameras) if embedder.sides else None
    features = partial(embedder.features, cameras=cameras)
    found = reid.extract_split(
        features, embedder.size, split, config.test_dir, name, world, embedder.resize
    )
    found = reid.merge_tracklets(found, tracklets) if tracklets is not None else found
    if world.is_main:
        speed = len(split) / (time.perf_counter() - started)
        images = f"{len(split)} images"
        images += f" of {counted(len(found), 'tracklet')}" if config.tracks else ""
        print(f"{name}: {images}, {speed:.0f} images/s", flush=True)
    return found


def measure(queries: reid.FeatureSet, gallery: reid.FeatureSet, distance: str) -> reid.Metrics:
    """Return the metrics of the ranking that a distance gives."""
    scores = DISTANCES[distance](queries.features, gallery.features)
    return reid.evaluate(queries, gallery, scores=scores)


def report(
    config: TestConfig,
    query: reid.FeatureSet,
    gallery: reid.FeatureSet,
    multi_query: reid.FeatureSet | None = None,
) -> None:
    """Write the result files and print the metrics."""
    flags = reid.feature_flags(config)
    reid.save_result(config.result, query, gallery, reid.network_name(config), flags)
    distance, remark = ("euclidean", " (Euclidean distance)") if config.no_norm else ("cosine", "")

    reid.remark_unmatched(query, gallery)
    if not config.camera_norm:
        reid.remark_own_camera(query, gallery)
    found = {"single": measure(query, gallery, distance)}
    if multi_query:
        reid.save_multi_query(reid.multi_query_file(config.result), multi_query, query)
        merged = reid.merge_images(query, multi_query, Path(config.test_dir, "multi-query"))
        found |= {"multi": measure(merged, gallery, distance)} if merged else {}
    lines = [
        metrics.line("multi " if name == "multi" else "") + remark
        for name, metrics in found.items()
    ]
    print("\n".join(lines))

    if config.json:
        write_json(config.json, {name: metrics.figures() for name, metrics in found.items()})
    if run := reid.run_of(config):
        where = f"{run} {config.which_epoch} {config.test_dir}"
        where += "" if flags == PLAIN else f" {flags}"
        reid.RunFolder(run).add_results(f"{where}: {line}" for line in lines)
    there = "" if Path(config.result) == RESULT else f" --result {quoted(config.result)}"
    print(
        f"Features are in {config.result}. Look at a ranking: "
        f"{as_command('demo.py')} --query_index 0{there}"
    )
    if config.no_norm:
        again = f"{as_command('evaluate.py')} --distance euclidean{there}"
        print(f"They are not of unit length: {again} ranks them as these figures do.")


if __name__ == "__main__":
    run_script(main)

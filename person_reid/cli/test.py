"""Extract the features of query and gallery, and evaluate them.

    python test.py --name ft_ResNet50 --test_dir ../Market/pytorch
    python test.py --name ft_ResNet50 --which_epoch 60 --ms 1,1.1,1.2 --multi
    python test.py --backbone osnet_x0_25 --weights osnet_x0_25_msmt17.pth  # a weight file
    python test.py --backbone resnet50 --PCB --weights pcb.pth              # one with parts
    python test.py --name ft_ResNet50 --gpu_ids -1 --runtime auto           # faster on a CPU
    python test.py --name ft_ResNet50 --adapt_bn --camera_norm              # fitted to these images
    python test.py --engine osnet.onnx                                      # an exported file
    torchrun --standalone --nproc_per_node 4 test.py                        # four GPUs

Writes pytorch_result.mat (and multi_query.mat with --multi), prints the metrics and adds them to
model/NAME/result.txt.
"""

import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import torch

from person_reid.basics import UserError, quoted, write_json
from person_reid.cli.flags import testing_parser
from person_reid.cli.outputs import check_outputs
from person_reid.cli.tested import feature_flags, is_run, network_name, open_embedder
from person_reid.data.bank import load_bank
from person_reid.data.layout import read_split
from person_reid.distributed import World, join_world
from person_reid.retrieval.metrics import Metrics, evaluate, remark_unmatched
from person_reid.retrieval.multi_query import merge_images
from person_reid.retrieval.normalization import CameraNorm, Whitening
from person_reid.retrieval.results import (
    PLAIN,
    RESULT,
    FeatureSet,
    multi_query_file,
    save_multi_query,
    save_result,
)
from person_reid.retrieval.similarity import DISTANCES
from person_reid.run_folder import RunFolder


def main(argv: list[str] | None = None) -> None:
    """Extract, evaluate and write."""
    options = testing_parser(__doc__).parse_args(argv)
    if options.engine and options.adapt_bn:
        raise UserError(
            f"--engine {options.engine} has no batch norms left to adapt: leave --adapt_bn out."
        )
    for flag in ("camera_norm", "whiten"):
        if options.no_norm and getattr(options, flag):
            raise UserError(
                f"--{flag} gives every feature unit length, and "
                "--no_norm keeps its own: choose one."
            )
    multi = multi_query_file(options.result) if options.multi else None
    check_outputs(options, result=[options.result, multi], json=[options.json])
    with join_world(options.gpu_ids) as world:
        options.gpu_ids = world.gpu(options.gpu_ids)
        extract = extractor(options, world)
        query, gallery = extract("query"), extract("gallery")
        images = extract("multi-query") if options.multi else None

        def fitted(
            norm: CameraNorm | Whitening,
        ) -> tuple[FeatureSet, FeatureSet, FeatureSet | None]:
            return norm.of(query), norm.of(gallery), images and norm.of(images)

        if options.camera_norm:
            standardise = options.camera_norm == "standardise"
            query, gallery, images = fitted(
                CameraNorm(gallery.features, gallery.cameras, standardise)
            )
        if options.whiten:
            query, gallery, images = fitted(Whitening(gallery.features))
        if world.leads:
            report(options, query, gallery, images)


def report(
    options: Namespace, query: FeatureSet, gallery: FeatureSet, images: FeatureSet | None
) -> None:
    """Write the result files and print the metrics. images: of multiple queries, or None."""
    flags = feature_flags(options)
    save_result(options.result, query, gallery, network_name(options), flags)
    distance, remark = ("euclidean", " (Euclidean distance)") if options.no_norm else ("cosine", "")

    def measure(queries: FeatureSet) -> Metrics:
        return evaluate(
            queries, gallery, scores=DISTANCES[distance](queries.features, gallery.features)
        )

    remark_unmatched(query, gallery)
    found = {"single": measure(query)}
    if images:
        save_multi_query(multi_query_file(options.result), images, query)
        merged = merge_images(query, images, Path(options.test_dir, "multi-query"))
        found |= {"multi": measure(merged)} if merged else {}
    lines = [
        metrics.line("multi " if name == "multi" else "") + remark
        for name, metrics in found.items()
    ]
    print("\n".join(lines))
    if options.json:
        write_json(options.json, {name: metrics.figures() for name, metrics in found.items()})
    if is_run(options):
        where = (
            f"{options.name} {options.which_epoch} "
            f"{options.test_dir}{'' if flags == PLAIN else f' {flags}'}"
        )
        RunFolder(options.name).add_results(f"{where}: {line}" for line in lines)
    there = "" if Path(options.result) == RESULT else f" --result {quoted(options.result)}"
    print(
        f"Features are in {options.result}. Look at a ranking: python "
        f"demo.py --query_index 0{there}"
    )
    if options.no_norm:
        command = f"python evaluate.py --distance euclidean{there}"
        print(f"They are not of unit length: {command} ranks them as these figures do.")


def extractor(options: Namespace, world: World) -> Callable[[str], FeatureSet]:
    """Return a function from the name of a split of --test_dir to its FeatureSet, whose images the
    processes share.

    Reads the weights and the names of all images before it decodes the first image, so that a
    mistake costs no time.
    """
    names = ["query", "gallery", *(["multi-query"] if options.multi else [])]
    splits = {name: read_split(options.test_dir, name) for name in names}
    cache = Path(options.test_dir) / ".cache"

    def gallery_bank(size: tuple[int, int]) -> torch.Tensor:
        with world.leader_first():
            return load_bank(splits["gallery"].paths, *size, cache, "gallery")

    embedder = open_embedder(options, gallery_bank if options.adapt_bn else None)
    height, width = embedder.size

    def extract(name: str) -> FeatureSet:
        split = splits[name]
        started = time.perf_counter()
        with world.leader_first():  # one process decodes, the others find its cache
            bank = world.share(load_bank(split.paths, height, width, cache, name))
        features = world.collect(embedder.features(bank, f"features of {name}"), len(split))
        if world.leads:
            speed = len(split) / (time.perf_counter() - started)
            print(f"{name}: {len(split)} images, {speed:.0f} images/s", flush=True)
        return FeatureSet(
            features, split.labels, split.cameras, [path.as_posix() for path in split.paths]
        )

    return extract

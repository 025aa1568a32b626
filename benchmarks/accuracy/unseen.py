# PYTHON_ARGCOMPLETE_OK
"""Measure networks, and weights between two networks, on people they have never seen.

    python benchmarks/accuracy/unseen.py --test_dirs ../Market/pytorch mini/pytorch --walks walks \\
      --networks osnet_x0_25=osnet_x0_25_msmt17.pth "0277.xml --bgr --range 0..255" --keep features
    python benchmarks/accuracy/unseen.py --test_dirs mini/pytorch --keep features \\
      --run people --start osnet_x0_25_msmt17.pth --shares 0.3 0.5 0.7 1

A network is named as for tools/compare_networks.py. Weights between two networks are often better
on other data than both of them (Wortsman et al., Robust Fine-Tuning of Zero-Shot Models, CVPR
2022): --run was trained from the weights --start, and has a share from 0 to 1. The statistics of
batch norms are interpolated as well, or estimated anew on training images of --statistics. --keep
stores the features and these weights, SHARE.pth, for the next call.

Prints Rank@1 / mAP of each test set in per cent. "All cameras" ranks, for each image of train_all,
the images from other cameras: many queries of a small set. For walks, it prints the IDF1 of linked
tracks, with the default threshold and with the best of all thresholds.
"""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from benchmarks.accuracy.across import linked, row, true_people, walked
from benchmarks.support.measure import machine
from benchmarks.support.parser import Parser
from person_reid.console import run_script
from person_reid.console.named_network import network_named
from person_reid.data.images.bank import load_bank
from person_reid.data.layout import read_split
from person_reid.deploy.embedder import Embedder
from person_reid.deploy.find import open_embedder, reestimate_batch_norms
from person_reid.deploy.load import load_network, network_of_run
from person_reid.deploy.publish import about_data, query_and_gallery
from person_reid.models.weights import load_weights
from person_reid.retrieval.features import extract_split
from person_reid.retrieval.metrics import evaluate
from person_reid.retrieval.results import load_result, save_result
from person_reid.run_folder import save_tensors
from person_reid.text import markdown_table

STATISTICS_IMAGES = 2048
THRESHOLDS = np.arange(0.02, 1, 0.02)


def main(argv=None):
    """Print a row for each network."""
    parser = Parser(__doc__)
    parser.add_argument("--networks", nargs="+", default=[], metavar="NETWORK", help="see above")
    parser.add_argument("--test_dirs", nargs="+", default=[], metavar="DIR", help="layouts")
    parser.add_argument("--all_cameras", nargs="+", default=[], metavar="DIR", help="layouts")
    parser.add_argument("--walks", type=Path, help="folder of prepare.py --synthetic --walks")
    parser.add_argument("--keep", type=Path, required=True, help="folder for features and weights")
    parser.add_argument("--run", help="name of a run, for weights between it and --start")
    parser.add_argument("--start", type=Path, help="the weights from which the run was trained")
    parser.add_argument(
        "--shares", type=float, nargs="+", default=[0.3, 0.5, 0.7, 1.0], help="see above"
    )
    parser.add_argument("--statistics", help="layout for the statistics of batch norms")
    options = parser.parse_args(argv)
    options.keep.mkdir(parents=True, exist_ok=True)
    networks = {short(text): partial(named, text) for text in options.networks}
    for share in options.shares if options.run else ():
        name = f"{options.run}_{share:g}{'_statistics' if options.statistics else ''}"
        networks[name] = partial(between, options, share, options.keep / f"{name}.pth")
    of_sets = [about_data(folder)[0] for folder in options.test_dirs]
    of_sets += [f"{about_data(folder)[0]}, all cameras" for folder in options.all_cameras]
    walks = ["walks: IDF1", "best IDF1"] if options.walks else []
    print(machine(), flush=True)
    rows = [[name, *figures(name, opened, options)] for name, opened in networks.items()]
    print("", markdown_table(["network", *of_sets, *walks], rows), sep="\n")


def short(text):
    """Return a name for a network that a text names."""
    return Path(text.split()[0].rpartition("=")[2]).stem


def named(text):
    """Return the Embedder of a network that a text names."""
    return open_embedder(network_named(text, "networks", "-1"))


def between(options, share, file):
    """Return the Embedder of weights between --start (0) and --run (1), cached in a file."""
    tested = network_of_run(options.run)
    if not file.exists():
        network = load_network(tested)
        trained = {name: value.clone() for name, value in network.state_dict().items()}
        load_weights(network, options.start)
        with_start = network.state_dict()
        for name, value in with_start.items():
            if value.is_floating_point():
                value.lerp_(trained[name], share)
        if options.statistics:
            split = read_split(options.statistics, "train_all")
            chosen = np.linspace(0, len(split.paths) - 1, STATISTICS_IMAGES).astype(int)
            import torch  # only now: the console decides how its threads wait

            bank = load_bank([split.paths[i] for i in chosen], *tested.size)
            reestimate_batch_norms(network, bank, torch.device("cpu"))
        save_tensors(network.state_dict(), file)
    return Embedder(replace(tested, weights=file), device="cpu")


def figures(name, opened, options):
    """Yield the cells of a network's row."""
    embedder = None
    for folder in options.test_dirs + [f"{each}/train_all" for each in options.all_cameras]:
        file = options.keep / f"{name}-{str(folder).strip('/').replace('/', '_')}.mat"
        if not file.exists():
            embedder = embedder or opened()
            save_result(file, *sets_of(embedder, folder))
        found = evaluate(*load_result(file))
        yield f"{100 * found.rank(1):.2f} / {100 * found.mAP:.2f}"
        print(f"{name}, {folder}: {100 * found.rank(1):.2f} / {100 * found.mAP:.2f}", flush=True)
    if options.walks:
        found = of_walks(walked(options_of_walks(options, embedder or opened()))[0])
        print(f"{name}, {options.walks}: {' and '.join(found)}", flush=True)
        yield from found


def sets_of(embedder, folder):
    """Return query and gallery of a layout, or all images of its split train_all for both."""
    if Path(folder).name != "train_all":
        return query_and_gallery(embedder, folder)
    layout = Path(folder).parent
    split = read_split(layout, "train_all")
    every = extract_split(embedder.features, embedder.size, split, layout, "train_all")
    return every, every


def options_of_walks(options, embedder):
    """Return the options of across.py."""
    return SimpleNamespace(
        walks=options.walks, embedder=embedder, per_track=8, tracker=False, appearance=None
    )


def of_walks(scene):
    """Return the IDF1 of linked tracks with the default threshold, and with the best one."""
    truth = true_people(scene)
    settings = {"travel": scene.travel}
    shares = []
    for threshold in (None, *THRESHOLDS):
        names, people = linked(scene, **settings, threshold=threshold)
        shares.append(float(row("", scene, truth, names, people.labels.astype(str))[1]))
    return [f"{shares[0]:.1f}", f"{max(shares):.1f}"]


if __name__ == "__main__":
    run_script(main)

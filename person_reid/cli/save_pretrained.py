"""Write a network to a folder that explains itself: weights, configuration, and a card with its
accuracy.

    python tools/save_pretrained.py --name ft_ResNet50 --output resnet50_market
    python tools/save_pretrained.py --name market --output osnet_market \\
      --test_dirs ../Market/pytorch ../MSMT17/pytorch
    python test.py --from osnet_market --test_dir ../MSMT17/pytorch  # the network of the folder

The folder holds model.safetensors, config.json and README.md. Embedder.from_pretrained reads it,
and train.py --weights starts from it.
"""

from person_reid.basics import quoted
from person_reid.cli.flags import add_tested_network
from person_reid.cli.parser import Parser
from person_reid.cli.tested import is_run, network_name, own_threshold, tested_network
from person_reid.cli.values import output_path, some_path
from person_reid.config.demo import THRESHOLD
from person_reid.console.outputs import check_outputs
from person_reid.data.layout import check_test_sets
from person_reid.deploy.embedder import Embedder
from person_reid.deploy.pretrained import CARD, CONFIG
from person_reid.deploy.publish import about_data, accuracy, check_output, save_pretrained
from person_reid.device import select_device
from person_reid.models.weight_files import SAFETENSORS
from person_reid.retrieval.results import PLAIN
from person_reid.retrieval.thresholds import load_promise, load_threshold
from person_reid.run_folder import RunFolder


def main(argv: list[str] | None = None) -> None:
    """Measure the network on every test set, and write the folder."""
    parser = Parser(__doc__)
    add_tested_network(parser)
    group = parser.add_argument_group("the folder")
    group.add_argument(
        "--output", type=output_path, required=True, metavar="FOLDER", help="the folder to write"
    )
    group.add_argument(
        "--test_dirs",
        type=some_path,
        nargs="+",
        default=[],
        help="layouts to measure its accuracy on",
    )
    group.add_argument(
        "--threshold", help=f"similarity of the same person: {THRESHOLD} (default: that of --from)"
    )
    options = parser.parse_args(argv)
    check_test_sets(options.test_dirs)
    check_output(options.output)
    check_outputs(options, output=[options.output / name for name in (CARD, CONFIG, SAFETENSORS)])
    tested = tested_network(options)
    measured = options.threshold or own_threshold(options)
    threshold = load_threshold(measured, network_name(options), PLAIN) if measured else None
    promise = load_promise(measured)
    embedder = (
        Embedder(tested, device=select_device(options.gpu_ids)) if options.test_dirs else None
    )
    accuracies = [accuracy(embedder, test_dir) for test_dir in options.test_dirs if embedder]
    of_run = RunFolder(options.name).options({"data_dir"}) if is_run(options) else None
    trained_on = about_data(of_run.get("data_dir", "")) if of_run else None
    written = save_pretrained(tested, options.output, accuracies, trained_on, threshold, promise)
    for row in accuracies:
        print(
            f"{row.data_set}: Rank@1 {row.rank1:.2f} %, mAP "
            f"{row.mean_ap:.2f} % (step {row.step_ap:.2f} %)"
        )
    print(f"The network is in {written}. Test it: python test.py --from {quoted(written)}")

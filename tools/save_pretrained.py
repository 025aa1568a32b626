# PYTHON_ARGCOMPLETE_OK
"""Write a network to a folder: its weights, its configuration, and a card with its accuracy.

    python tools/save_pretrained.py --name ft_ResNet50 --output resnet50_market
    python tools/save_pretrained.py --name market --output osnet_market \\
      --test_dirs ../Market/pytorch ../MSMT17/pytorch
    python test.py --from osnet_market --test_dir ../MSMT17/pytorch  # the network in the folder

The folder holds model.safetensors, config.json and README.md. Embedder.from_pretrained reads it,
and train.py --weights starts from it.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import person_reid as reid
from person_reid.config.forms import output_path
from person_reid.config.look import THRESHOLD
from person_reid.config.option import Options, option
from person_reid.config.tested import CONFIG_FILE, TrainedNetwork
from person_reid.console import parse, run_script
from person_reid.console.outputs import check_outputs
from person_reid.data.layout import check_test_sets
from person_reid.deploy.find import own_threshold, tested_network
from person_reid.deploy.pretrained import CARD
from person_reid.deploy.publish import about_data, accuracy, check_output
from person_reid.models.weight_files import SAFETENSORS
from person_reid.retrieval.results import PLAIN
from person_reid.text import as_command, quoted


class FolderOptions(Options, title="the folder"):
    """The folder in which to save a network."""

    output: str = option(
        None, "the folder to write", form=output_path, metavar="FOLDER", required=True, common=True
    )
    test_dirs: tuple[str, ...] = option(
        (), "layouts to measure its accuracy on", metavar="DIR", several="+", common=True
    )
    half: bool = option(False, "store the weights in half precision", common=True)
    threshold: str | None = option(
        None,
        f"least similarity of one person's images: {THRESHOLD} (default: that of --from)",
        common=True,
    )


class SavePretrainedConfig(FolderOptions, TrainedNetwork):
    """All options of tools/save_pretrained.py."""


def main(argv: list[str] | None = None) -> None:
    """Measure the network on every test set, and write the folder."""
    config = parse(SavePretrainedConfig, argv, __doc__)
    check_test_sets(config.test_dirs)
    check_output(config.output)
    files = [Path(config.output, name) for name in (CARD, CONFIG_FILE, SAFETENSORS)]
    check_outputs(config, output=files)

    tested = tested_network(config)
    measured = config.threshold or own_threshold(config)
    threshold = (
        reid.load_threshold(measured, reid.network_name(config), PLAIN) if measured else None
    )
    accuracies = []
    if config.test_dirs:
        embedder = reid.Embedder(tested, device=reid.select_device(config.gpu_ids))
        accuracies = [accuracy(embedder, test_dir) for test_dir in config.test_dirs]
    trained_on = None
    if run := reid.run_of(config):
        options = reid.RunFolder(run).options({"data_dir", "train_with"})
        further = str(options.get("train_with") or "").split(",")
        roots = [options.get("data_dir", ""), *filter(None, further)]
        trained_on = dict(map(about_data, roots)) if options else None

    bound = reid.load_bound(measured)
    written = reid.save_pretrained(
        tested, config.output, accuracies, trained_on, threshold, bound, half=config.half
    )
    for row in accuracies:
        figures = f"mAP {row.mean_ap:.2f} % (step {row.step_ap:.2f} %)"
        print(f"{row.data_set}: Rank@1 {row.rank1:.2f} %, {figures}")
    print(f"The network is in {written}. Test it: {as_command('test.py')} --from {quoted(written)}")


if __name__ == "__main__":
    run_script(main)

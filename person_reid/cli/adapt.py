"""Adapt a network to your cameras with images that nobody has labelled.

    python tools/adapt.py --data_dir crops --name mine --backbone osnet_x0_25 --weights osnet_x0_25_msmt17.pth
    python tools/adapt.py --data_dir crops --name mine --from ft_ResNet50                # start from a run
    python tools/adapt.py --data_dir crops --name mine --resume                         # continue after an interruption
    python tools/adapt.py --data_dir crops --name mine --from ft_ResNet50 --pattern "cam(?P<camera>[0-9]+)"
    python tools/adapt.py --data_dir ../Market/pytorch --name mine --from msmt --report_labels
    python tools/adapt.py --data_dir crops --name mine --from duke --keep_source ../Duke/pytorch   # and do not forget

--data_dir is any folder of person crops, or one that prepare.py laid out, whose train_all is used. Each epoch clusters
the images by their current features and learns to tell the clusters apart. The result is a run like that of train.py:
test.py, export and search take its --name. Labels are not read, except to be reported with --report_labels.
"""

from argparse import Namespace, _ArgumentGroup
from collections.abc import Sequence
from typing import Any

from person_reid.basics import UserError
from person_reid.cli.flags import training_parser
from person_reid.cli.options import load_run_options, parse_train
from person_reid.cli.parser import Parser
from person_reid.cli.specs import spec_of, train_spec
from person_reid.cli.values import part, positive, share, some_texts
from person_reid.data.unlabelled import SOURCES
from person_reid.distributed import join_world
from person_reid.models.factory import network_kind
from person_reid.models.network import PlainNetwork, USAMNetwork
from person_reid.models.spec import NetworkSpec
from person_reid.run_folder import RunFolder
from person_reid.training.run import run_training
from person_reid.training.spec import AdaptSpec, TrainSpec

# The flags of train.py that apply, and the defaults that differ.
SHARED = (
    "gpu_ids", "name", "seed", "resume", "config", "tensorboard", "wandb", "mlflow", "keep", "runtime",
    "data_dir", "batchsize", "instances", "height", "width", "color_jitter", "erasing_p", "autoaugment_p", "cutout_p",
    "lgt_p", "grayscale_erasing_p", "translation_p", "backbone", "weights", "stride", "pool", "attention", "neck",
    "linear_num", "usam", "drop_path", "total_epoch", "lr", "optimizer", "weight_decay", "balance", "schedule",
    "milestones", "warm_epoch", "accumulate", "no_tf32", "fp16", "bf16",
)  # fmt: skip
DEFAULTS = {
    "name": "adapted", "batchsize": 64, "erasing_p": 0.5, "neck": "none", "total_epoch": 20, "lr": 3.5e-4,
    "optimizer": "adam",
}  # fmt: skip
LAYERS = ("backbone", "stride", "pool", "attention", "neck", "linear_num", "drop_path", "usam")


def main(argv: list[str] | None = None) -> None:
    """Adapt, in one process or under torchrun."""
    options = parse(argv)
    with join_world(options.gpu_ids) as world:
        run_training(adapt_spec(options), world)


def parse(argv: Sequence[str] | None) -> Namespace:
    """Return the resolved options. Raises UserError for those that cannot work, as parse_train does."""
    parser = adapting_parser()
    first = parser.parse_args(argv)
    if not (first.resume and RunFolder(first.name).options_file.exists()):
        parser.set_defaults(**_start(first, parser))
    options = parse_train(argv, parser=parser)
    options.backbone_lr = options.lr
    return options


def _start(first: Namespace, parser: Parser) -> dict[str, Any]:
    """Return {flag: value} of the network to start from. Raises UserError if it is not named, or named twice."""
    if first.from_run:
        if given := [f"--{name}" for name in ("weights", *LAYERS) if getattr(first, name) != parser.get_default(name)]:
            raise UserError(f"{', '.join(given)} would be ignored: --from {first.from_run} says what the network is.")
        start = vars(load_run_options(first.from_run))
        start["weights"] = str(RunFolder(first.from_run).weights_file())
    elif (first.backbone and first.weights != "imagenet") or first.config:
        start = vars(first)
    else:
        raise UserError("Name the network to start from: --from RUN, or --backbone NAME and --weights FILE.")
    spec = NetworkSpec.of({**start, "backbone": start["backbone"] or "resnet50"})
    if network_kind(spec) not in (PlainNetwork, USAMNetwork):
        raise UserError(
            f"{spec.backbone}: this network has several features for the parts of an image. Choose another."
        )
    return {name: start[name] for name in ("weights", "height", "width", *LAYERS)}


def adapting_parser() -> Parser:
    """Return the parser of adapt.py: flags of train.py that apply, and its own."""
    parser, trains = Parser(__doc__), training_parser()
    parser.set_defaults(**{action.dest: action.default for action in trains._actions if action.dest != "help"})
    for group in trains._action_groups:
        if actions := [action for action in group._group_actions if action.dest in SHARED]:
            mine = parser.add_argument_group(group.title)
            for action in actions:
                mine._add_action(action)
    parser.set_defaults(**DEFAULTS)
    images = parser.add_argument_group("images")
    images.add_argument("--cameras", choices=SOURCES, default="names", help="where the camera of an image is read from")
    images.add_argument("--pattern", help="regular expression with the group camera, searched in names and paths")
    images.add_argument("--report_labels", action="store_true", help="report purity and mAP; learns nothing from them")
    images.add_argument(
        "--keep_source", dest="train_with", type=some_texts, metavar="DIR",
        help="labelled data sets, laid out and separated by commas, for half of every batch",
    )  # fmt: skip
    start = parser.add_argument_group("start")
    start.add_argument("--from", dest="from_run", metavar="RUN", help="start from a run instead of a weight file")
    add_cluster_flags(parser.add_argument_group("clusters"))
    return parser


def add_cluster_flags(clusters: _ArgumentGroup) -> None:
    """Add the flags that decide what is clustered, and how the clusters are learnt."""
    usual = AdaptSpec()
    clusters.add_argument("--steps", type=positive(int), default=usual.steps, help="batches per epoch")
    clusters.add_argument("--radius", type=share, default=usual.radius, help="largest Jaccard distance of neighbours")
    clusters.add_argument(
        "--min_samples", type=positive(int), default=usual.min_samples, help="neighbours needed to begin a cluster"
    )
    clusters.add_argument("--k1", type=positive(int), default=usual.k1, help="size of the reciprocal neighbourhoods")
    clusters.add_argument("--k2", type=positive(int), default=usual.k2, help="neighbours that are averaged")
    clusters.add_argument("--momentum", type=part, default=usual.momentum, help="momentum of the cluster memory")
    clusters.add_argument(
        "--temperature", type=positive(float), default=usual.temperature, help="temperature of the loss"
    )
    clusters.add_argument("--decay", type=part, default=usual.decay, help="decay of the mean teacher, per step")
    clusters.add_argument("--outliers", choices=("drop", "instances"), default="drop", help="images in no cluster")
    clusters.add_argument(
        "--reliable", action="store_true", help="also leave out images whose cluster depends on the radius (SpCL)"
    )
    clusters.add_argument(
        "--proxies", action="store_true", help="tell a cluster's parts in different cameras apart (CAP)"
    )
    clusters.add_argument(
        "--no_camera_norm", action="store_true", help="cluster without centring each camera's features"
    )


def adapt_spec(options: Namespace) -> TrainSpec:
    """Return the training that the options describe."""
    return train_spec(options, spec_of(AdaptSpec, options, camera_norm=not options.no_camera_norm))

"""Every flag, declared once, and the options file that a run leaves behind (model/NAME/opts.yaml).

The published flags keep their names, defaults and abbreviations (`--batch 16`, `--warm 10`, `--total 100`), so that no
new flag may begin as one of these does.
"""

import argparse
from pathlib import Path

import torch
import yaml

from losses import PUBLISHED
from utils import UserError, atomic_write, did_you_mean

# Published flags that stand for a network.
NETWORK_FLAGS = {
    "ibn": "resnet50_ibn_a",
    "use_dense": "densenet121",
    "use_swin": "swin_base",
    "use_swinv2": "swinv2_base",
    "use_dino": "dinov3_vit_base",
    "use_efficient": "efficientnet_b4",
    "use_NAS": "nasnetalarge",
    "use_hr": "hrnet_w18",
    "use_convnext": "convnext_base",
}
# Published flags that are declared, and refused by name until their part works.
NOT_YET = ("usam", "PCB", "DG", "adv")
PUBLISHED_CLASSES = 751  # Market-1501's; old opts.yaml files do not say


def training_parser():
    """The parser of train.py."""
    parser = argparse.ArgumentParser(
        description="Train a network to tell identities apart.",
        epilog="example: python train.py --name ft_ResNet50 --train_all --batchsize 32 --data_dir ../Market/pytorch",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    run = parser.add_argument_group("run")
    run.add_argument("--gpu_ids", default="0", help="which GPU; -1 for the CPU, also used where there is no GPU")
    run.add_argument("--name", default="ft_ResNet50", help="name of the run: its files go to model/NAME")
    run.add_argument("--seed", type=whole, default=0, help="the same seed on the same machine gives the same network")
    run.add_argument("--resume", action="store_true", help="go on after the last epoch that model/NAME has finished")
    run.add_argument("--config", metavar="FILE", help="YAML file of options; flags on the command line win")
    run.add_argument("--dry_run", action="store_true", help="print the options and the network's size, touch nothing")
    run.add_argument("--tensorboard", action="store_true", help="also write TensorBoard events to model/NAME")

    data = parser.add_argument_group("data")
    data.add_argument("--data_dir", default="../Market/pytorch", help="the folder that prepare.py laid out")
    data.add_argument("--train_all", action="store_true", help="train on every training image, those of val included")
    data.add_argument("--batchsize", type=positive(int), default=32, help="images a batch")
    data.add_argument("--height", type=positive(int), help="height of the images (default: the network's)")
    data.add_argument("--width", type=positive(int), help="width of the images (default: the network's)")
    data.add_argument("--color_jitter", action="store_true", help="vary brightness, contrast and saturation by 10 %%")
    data.add_argument("--erasing_p", type=fraction, default=0.0, help="probability of random erasing, 0 to 1")
    data.add_argument("--DG", action="store_true", help="learn from the unlabelled images of DG-Market, too")

    network = parser.add_argument_group("network")
    add_network_flags(network)

    training = parser.add_argument_group("training")
    training.add_argument("--lr", type=positive(float), default=0.05, help="learning rate of the head")
    training.add_argument("--backbone_lr", type=positive(float), help="of the backbone (default: lr / 10)")
    training.add_argument("--weight_decay", type=weight, default=5e-4, help="on all weights")
    training.add_argument("--total_epoch", type=positive(int), default=60, help="epochs")
    training.add_argument("--warm_epoch", type=whole, default=0, help="epochs over which the learning rate rises")
    training.add_argument("--cosine", action="store_true", help="cosine schedule to lr / 100, instead of one step")
    training.add_argument("--FSGD", action="store_true", help="PyTorch's fused SGD")
    training.add_argument("--fp16", action="store_true", help="mixed precision with float16")
    training.add_argument("--bf16", action="store_true", help="mixed precision with bfloat16")
    training.add_argument("--wa", action="store_true", help="average the weights over the last fifth of the epochs")

    losses = parser.add_argument_group("losses (added to cross entropy)")
    losses.add_argument("--label_smoothing", type=fraction, default=0.0, help="of the cross entropy, 0 to 1")
    for name in PUBLISHED:
        losses.add_argument(f"--{name}", action="store_true", help=f"add the {name} loss")
    losses.add_argument("--ins_gamma", type=positive(float), default=32, help="scale of the instance losses")
    losses.add_argument("--adv", type=weight, default=0.0, help="weight of the loss on adversarial images")
    losses.add_argument("--aiter", type=positive(int), default=10, help="every how many batches --adv is applied")
    return parser


def testing_parser():
    """The parser of test.py. The network's own flags come from the run's opts.yaml; those here test a bare file."""
    parser = argparse.ArgumentParser(
        description="Extract the features of query and gallery and evaluate them.",
        epilog="example: python test.py --name ft_ResNet50 --test_dir ../Market/pytorch --which_epoch last",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add_tested_network(parser)
    parser.add_argument("--test_dir", default="../Market/pytorch", help="the folder that prepare.py laid out")
    parser.add_argument("--batchsize", type=positive(int), default=256, help="images a batch")
    parser.add_argument("--multi", action="store_true", help="multiple-query evaluation, too")
    parser.add_argument("--fp16", action="store_true", help="extract in float16")
    parser.add_argument("--bf16", action="store_true", help="extract in bfloat16")
    parser.add_argument("--ms", default="1", help="scales whose square roots resize the image, such as 1,1.1,1.2")
    parser.add_argument("--no_flip", action="store_true", help="leave out the mirrored image")
    parser.add_argument("--result", default="pytorch_result.mat", help="where the features go")
    return parser


def add_tested_network(parser):
    """The flags that name a trained network: of a run, or of a weight file."""
    parser.add_argument("--gpu_ids", default="0", help="which GPU; -1 for the CPU, also used where there is no GPU")
    parser.add_argument("--name", default="ft_ResNet50", help="name of the run whose network is used")
    parser.add_argument("--which_epoch", default="last", help="last, average, average_bn, or an epoch such as 60")
    parser.add_argument("--linear_num", type=whole, help="width of the bottleneck (default: the run's)")
    parser.add_argument("--backbone", help="use a weight file without a training run: its network")
    parser.add_argument("--weights", metavar="FILE", help="the weight file of --backbone; none for random weights")
    parser.add_argument("--height", type=positive(int), help="height of the images (default: the run's)")
    parser.add_argument("--width", type=positive(int), help="width of the images (default: the run's)")
    parser.add_argument("--stride", type=int, choices=(1, 2), default=2, help="of --backbone's last stage")
    parser.add_argument("--seed", type=whole, default=0, help="of --weights none")


def add_network_flags(group):
    """The flags that describe a network."""
    group.add_argument("--backbone", help="a network of `python model.py`, timm or torchvision (default: resnet50)")
    group.add_argument("--weights", default="imagenet", help="imagenet, none, or a file")
    group.add_argument("--stride", type=int, choices=(1, 2), default=2, help="1 keeps the last stage's resolution")
    group.add_argument("--linear_num", type=whole, default=512, help="width of the bottleneck; 0 leaves its linear out")
    group.add_argument("--droprate", type=fraction, default=0.5, help="dropout before the classifier")
    for flag, name in NETWORK_FLAGS.items():
        group.add_argument(f"--{flag}", action="store_true", help=f"the same as --backbone {name}")
    group.add_argument("--usam", action="store_true", help="attention after the stem and the first stage")
    group.add_argument("--PCB", action="store_true", help="part-based convolutional baseline, six stripes")


def bounded(kind, fits, expected):
    """An argparse type: a number of that kind for which fits(number) is true; `expected` says which those are."""

    def parse(text):
        value = kind(text)
        if not fits(value):
            raise argparse.ArgumentTypeError(f"{text}: expected a number {expected}")
        return value

    parse.__name__ = kind.__name__
    return parse


def positive(kind):
    """An argparse type: a number of that kind above 0."""
    return bounded(kind, lambda value: value > 0, "above 0")


fraction = bounded(float, lambda value: 0 <= value <= 1, "from 0 to 1")
whole = bounded(int, lambda value: value >= 0, "of 0 or above")
weight = bounded(float, lambda value: value >= 0, "of 0 or above")


def parse_train(argv=None):
    """The resolved options of train.py: defaults, then the `--config` file, then flags.

    With `--resume` the run's own opts.yaml stands in for the defaults, and a flag that contradicts it is refused.
    """
    parser = training_parser()
    first = parser.parse_args(argv)
    own = options_file(first.name)
    if first.resume and own.exists():
        parser.set_defaults(**_checked(parser, read_yaml(own), own, strict=False))
        _refuse_changes(parser.parse_args([]), parser.parse_args(argv), own)
    elif first.config:
        parser.set_defaults(**_checked(parser, read_yaml(first.config), first.config, strict=True))
    return resolve(parser.parse_args(argv))


def precision(options):
    """The dtype of autocast that --fp16 and --bf16 ask for; None is float32. Raises UserError for both at once."""
    if options.fp16 and options.bf16:
        raise UserError("--fp16 and --bf16 exclude each other: choose one.")
    return torch.float16 if options.fp16 else torch.bfloat16 if options.bf16 else None


def training_split(options):
    """The folder of --data_dir to train on."""
    return "train_all" if options.train_all else "train"


def load_run_options(name):
    """The resolved options of the run model/NAME, keys that an older file lacks at their defaults, and its `nclasses`.

    Raises UserError where there is no such run; it lists those there are.
    """
    path = options_file(name)
    if not path.exists():
        runs = sorted(file.parent.name for file in path.parent.parent.glob("*/opts.yaml"))
        there = f"There are: {', '.join(runs)}." if runs else f"Train one: python train.py --name {name}"
        raise UserError(f"{path}: no run of that name.{did_you_mean(name, runs)} {there}")
    parser = training_parser()
    content = read_yaml(path)
    options = parser.parse_args([])
    vars(options).update(_checked(parser, content, path, strict=False), name=name)
    options.nclasses = int(content.get("nclasses", PUBLISHED_CLASSES))
    return resolve(options)


def save_options(options, path):
    """Write options as YAML, atomically; read again by load_run_options and by the published code."""
    with atomic_write(path) as temporary:
        temporary.write_text(dump_options(options))


def dump_options(options):
    """The options as YAML text."""
    return yaml.safe_dump(vars(options))


def options_file(name):
    """model/NAME/opts.yaml."""
    return Path("model") / name / "opts.yaml"


def resolve(options):
    """Fill in what depends on other flags (network, image size, learning rates), and refuse what cannot work.

    Raises UserError for two networks at once, two precisions at once, and parts that are not there yet.
    """
    from reid.models.backbones import find_backbone

    for flag in NOT_YET:
        if getattr(options, flag):
            raise UserError(f"--{flag} is not available in this version; leave it out.")
    precision(options)
    options.backbone = _chosen_backbone(options)
    height, width = find_backbone(options.backbone).size
    options.height = options.height or height
    options.width = options.width or width
    options.backbone_lr = options.backbone_lr or 0.1 * options.lr
    return options


def _chosen_backbone(options):
    """The one network that --backbone or a published flag names; resnet50 where none does."""
    chosen = {f"--{flag}": name for flag, name in NETWORK_FLAGS.items() if getattr(options, flag)}
    if options.backbone:
        chosen[f"--backbone {options.backbone}"] = options.backbone
    if len(set(chosen.values())) > 1:
        raise UserError(f"Two networks at once: {' and '.join(chosen)}. Choose one.")
    return next(iter(chosen.values()), "resnet50")


def read_yaml(path):
    """The mapping in a YAML file, read as data. Raises FileNotFoundError, or UserError where it is no mapping."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such options file.")
    try:
        content = yaml.safe_load(Path(path).read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not readable as YAML: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected options as 'name: value' lines, found {type(content).__name__}.")
    return content


def _checked(parser, content, path, strict):
    """The options of a file with the types of their flags. strict: an unknown name is an error, else it is passed over
    (opts.yaml files of other versions hold names of their own)."""
    actions = {action.dest: action for action in parser._actions if action.dest != "help"}
    values = {}
    for name, value in content.items():
        if name not in actions:
            if strict:
                raise UserError(f"{path}: unknown option {name!r}.{did_you_mean(str(name), actions)}")
        else:
            values[name] = _converted(actions[name], value, path)
    return values


def _converted(action, value, path):
    """One value of an options file as its flag would give it."""
    if value is None and action.default is None:
        return None
    try:
        if isinstance(action.default, bool):
            if not isinstance(value, bool):
                raise ValueError("expected true or false")
            return value
        value = (action.type or str)(str(value))
        if action.choices and value not in action.choices:
            raise ValueError(f"expected one of {', '.join(map(str, action.choices))}")
        return value
    except (ValueError, argparse.ArgumentTypeError) as error:
        raise UserError(f"{path}: {action.dest}: {value!r} does not fit ({error}).") from error


def _refuse_changes(before, now, path):
    """A resumed run continues as it began; only what does not touch its result may differ."""
    free = {"name", "resume", "gpu_ids", "data_dir", "tensorboard", "dry_run", "config"}
    changed = [name for name, value in vars(now).items() if name not in free and value != getattr(before, name)]
    if changed:
        listing = ", ".join(f"{name} {getattr(before, name)} → {getattr(now, name)}" for name in changed)
        raise UserError(
            f"--resume continues the run as {path} describes it, but flags change it: {listing}. "
            "Leave them out, or start a new run under another --name."
        )

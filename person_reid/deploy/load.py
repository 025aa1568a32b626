"""The network to test: that of a run, or that of a weight file."""

from person_reid.basics import UserError, seed_everything
from person_reid.cli.flags import (
    DESCRIPTION,
    NETWORK_OF_FILE,
    NETWORK_OF_RUN,
    given_flags,
    given_values,
    training_parser,
)
from person_reid.cli.options import PUBLISHED_CLASSES, load_run_options, resolve
from person_reid.models.factory import build_from_options, load_weights
from person_reid.run_folder import RunFolder


def load_network(options):
    """The Network to test, with its weights, and the (height, width) of its images.

    options: with the flags of `flags.add_tested_network`, which name the run model/NAME or a weight file of
    --backbone. Raises UserError or FileNotFoundError where there is no such run, checkpoint or network, and for flags
    that would be ignored.
    """
    if options.backbone:
        return _network_of_file(options)
    run = run_to_test(options)
    path = RunFolder(options.name).weights_file(options.which_epoch)
    network = build_from_options(run, run.nclasses, weights="none")
    load_weights(network, path, strict=True)
    return network, (run.height, run.width)


def run_to_test(options):
    """The options of the run whose network the flags of test.py name, at the image size they ask for.

    Raises UserError where there is no such run, and for flags that contradict it or mean nothing to it.
    """
    if ignored := given_flags(options, NETWORK_OF_FILE):
        raise UserError(
            f"{ignored} would be ignored: model/{options.name}/opts.yaml describes the network of the run. "
            "For a weight file without a run, name its network: --backbone NAME."
        )
    run = load_run_options(options.name, given_values(options, DESCRIPTION))
    run.height, run.width = options.height or run.height, options.width or run.width
    return run


def _network_of_file(options):
    """The same for a weight file without a run: a backbone's or, where flags ask for further layers, a whole one."""
    if ignored := given_flags(options, NETWORK_OF_RUN):
        raise UserError(f"{ignored} would be ignored: --backbone {options.backbone} is a network without a run.")
    if not options.weights:
        raise UserError(f"--backbone {options.backbone} needs --weights FILE, or none for random weights.")
    described = training_parser().parse_args(["--backbone", options.backbone])
    asked = {name: getattr(options, name) for name in (*DESCRIPTION, "height", "width")}
    vars(described).update((name, value) for name, value in asked.items() if value is not None)
    resolve(described)
    seed_everything(options.seed)
    has_head = any(asked[name] is not None for name in ("neck", "head", "linear_num"))
    whole = has_head or bool(options.attention or options.usam)
    classes = PUBLISHED_CLASSES if has_head else None  # of the classifier, which no feature depends on
    from_file = options.weights not in ("imagenet", "none")
    network = build_from_options(described, classes, "none" if whole and from_file else options.weights)
    if whole and from_file:
        print(f"{options.weights}: {load_weights(network, options.weights, strict=True)}.")
    return network, (described.height, described.width)

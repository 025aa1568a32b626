"""Names for the network that options describe, for use in a result, a log or an index."""

from contextlib import suppress
from pathlib import Path

from person_reid.config.option import as_flag
from person_reid.config.tested import ALTERING, TestConfig, TrainedNetwork, parse_scales
from person_reid.errors import UserError
from person_reid.retrieval.results import PLAIN
from person_reid.run_folder import RunFolder, default_name, names_a_run
from person_reid.text import as_command


def run_of(options: TrainedNetwork) -> str | None:
    """Return the name of the selected run, or None for a network without a run."""
    if getattr(options, "engine", None):
        return None
    if options.from_run:
        return options.from_run if names_a_run(options.from_run) else None
    return None if options.backbone else options.name or default_name()


def title(options: TrainedNetwork) -> str:
    """Describe the network: its run and epoch, its folder, or its backbone and weights."""
    if name := run_of(options):
        return f"{name} {options.which_epoch}"
    return options.from_run or f"{options.backbone} {options.weights}"


def network_name(options: TrainedNetwork) -> str:
    """Return the text that names the network in a result file.

    A run's name includes its checkpoint, because `--which_epoch 59` and `60` may mean the same
    file. A file's name includes its folder.
    """
    if run := run_of(options):
        with suppress(FileNotFoundError):  # the run was tested elsewhere
            return f"{run} {RunFolder(run).weights_file(options.which_epoch).stem}"
        return f"{run} {options.which_epoch}"
    engine = getattr(options, "engine", None)
    file = Path(engine or options.from_run or options.weights or "")
    named = "/".join(file.resolve().parts[-2:]) if file.exists() else file.name
    return " ".join(filter(None, (options.backbone, named)))


def feature_flags(options: TestConfig) -> str:
    """Return the flags that change the network's plain features, or PLAIN if no flag does."""
    given = {name: getattr(options, name) for name in ALTERING}
    areas = ",".join(f"{scale**2:g}" for scale in parse_scales(options.ms))  # 1.0 becomes 1
    given["ms"] = areas if areas != "1" else None
    return " ".join(as_flag(name, value) for name, value in given.items() if value) or PLAIN


def no_network(run: RunFolder) -> UserError:
    """Return the error to raise if a command names no network and the default run is missing."""
    return UserError(
        f"{run.options_file}: no run of that name, and no other network is named. Train one: "
        f"{as_command('train.py')}. Or name the weights of one: a file with its backbone, "
        f"or a published network that `{as_command('model.py')} --published` lists."
    )

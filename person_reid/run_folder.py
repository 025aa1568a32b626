"""The folder of a run, model/NAME: its files, and how they are written and found.

opts.yaml        the options, with the number of identities
versions.jsonl   the code and libraries: a JSON object each time the run began or was resumed
net_010.pth …    the network's state dict every ten epochs; net_last.pth after the latest
net_average.pth  the averaged network (--wa); net_average_bn.pth with its own statistics
resume.pth       everything --resume needs, after the latest epoch
log.jsonl        one JSON object per epoch
not_finite.txt   the images of a batch whose loss was not finite
train.jpg        the curves
result.txt       what test.py measured
report.html      written by tools/report.py
clusters.jpg     the clusters of the last epoch of tools/adapt.py
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from person_reid.config import TrainConfig
from person_reid.config.files import options_in
from person_reid.config.network import NETWORK_FLAGS, PUBLISHED_CLASSES
from person_reid.config.option import resolve, text_options
from person_reid.config.run import OF_RESNET50
from person_reid.errors import UserError, first_line
from person_reid.files import (
    DEVICE,
    LONGEST_NAME,
    SETTINGS_BYTES,
    atomic_write,
    check_way,
    content_of,
    only_writer,
    read_json_lines,
    text_of,
    write_text,
)
from person_reid.text import as_command, did_you_mean

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)
MOST_CLASSES = 1_000_000  # identities of a run


class RunFolder:
    """The folder of a run: model/NAME.

    Every file in it is replaced whole or not at all; result.txt grows by whole lines.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = Path("model") / name
        self.options_file = self.path / "opts.yaml"
        self.state_file = self.path / "resume.pth"
        self.log = self.path / "log.jsonl"
        self.curves = self.path / "train.jpg"
        self.not_finite = self.path / "not_finite.txt"
        self.clusters = self.path / "clusters.jpg"
        self.report = self.path / "report.html"
        self.versions_file = self.path / "versions.jsonl"

    def writing(self) -> AbstractContextManager[None]:
        """Return the lock that a training run holds.

        Entering it raises UserError if another run trains under this name.
        """
        return only_writer(self._lock(), str(self.path))

    def check_unused(self) -> None:
        """Raise UserError if another process trains under the name, or OSError if it names a file.

        Call it before any work. It writes nothing.
        """
        check_way(self.path)
        if self._lock().exists():
            with self.writing():
                pass

    def _lock(self) -> Path:
        return self.path.with_name(f".{self.path.name}.lock")

    def holds_weights(self) -> bool:
        """Return whether a run has left weights or a state, which must not be lost."""
        return any(self.path.glob("*.pth"))

    def set_aside(self) -> None:
        """Rename the folder of an earlier run to model/NAME.previous.

        A new run can then take the name. Nothing is deleted: an older model/NAME.previous becomes
        model/NAME.previous.2, or the first free number.
        """
        if not self.holds_weights():
            return
        previous = self.path.with_name(f"{self.path.name}.previous")
        if previous.exists():
            numbered = (previous.with_name(f"{previous.name}.{number}") for number in count(2))
            older = next(path for path in numbered if not path.exists())
            previous.rename(older)
            log.info(
                "%s also held a run; it is now %s. Delete it if you do not need it.",
                previous,
                older,
            )
        self.path.rename(previous)
        log.info("%s held an earlier run; it is now %s.", self.path, previous)

    def save_weights(self, label: str | int, state_dict: Mapping[str, torch.Tensor]) -> None:
        """Write net_<label>.pth; label: "last", "average", "average_bn" or the epoch's number."""
        save_tensors(state_dict, self.path / f"net_{_label(label)}.pth")

    def keep_latest(self, count: int) -> None:
        """Delete all numbered checkpoints but the latest `count`."""
        found = [
            path for path in self.path.glob("net_*.pth") if re.fullmatch("net_[0-9]{3,}", path.stem)
        ]
        for path in sorted(found, key=lambda path: int(path.stem[4:]))[:-count]:
            path.unlink()

    def save_state(self, state: Mapping[str, Any]) -> None:
        """Write what --resume needs."""
        save_tensors(state, self.state_file)

    def load_state(self, device: torch.device) -> dict[str, Any] | None:
        """Return the state from save_state, on `device`, or None if no epoch has been finished.

        Raises UserError if the file is damaged, and if only this file or only checkpoints are left
        of the run.
        """
        if not self.state_file.exists():
            # The run may have stopped while its first epoch was saved.
            begun = self.versions_file.exists() and not self.log.exists()
            if any(self.path.glob("*.pth")) and not begun:
                raise UserError(
                    f"{self.state_file}: no such file, so the run cannot be resumed. "
                    "Without resume it begins anew, "
                    f"and what is in {self.path} is kept beside it."
                )
            return None
        if not self.options_file.exists():
            raise UserError(
                f"{self.options_file}: no such file, "
                f"so nothing says how {self.state_file} was trained."
            )
        from person_reid.models.weight_files import read_tensors

        state = read_tensors(self.state_file, device)
        if not isinstance(state, dict):
            raise UserError(
                f"{self.state_file}: expected the state of a training, "
                f"found {type(state).__name__}."
            )
        return state

    def save_log(self, history: Iterable[Mapping[str, Any]]) -> None:
        """Rewrite log.jsonl, one JSON object per epoch, so that a resumed run repeats no line."""
        write_text(self.log, "".join(json.dumps(epoch) + "\n" for epoch in history))

    def history(self) -> list[dict[str, Any]]:
        """Return the finished epochs in log.jsonl, a dict for each.

        Raises UserError if the file is damaged.
        """
        return read_history(self.log) if self.log.exists() else []

    def minutes(self) -> float:
        """Return how many minutes the training took.

        Validation, interruptions and epochs logged before 0.2 do not count.
        """
        return float(sum(epoch.get("seconds", 0.0) for epoch in self.history()) / 60)

    def save_options(self, options: Mapping[str, Any]) -> None:
        """Write opts.yaml: {flag: value}, in a form that the published code also reads."""
        write_text(self.options_file, yaml.safe_dump(dict(options)))

    def options(self, texts: Collection[str] = ()) -> dict[str, Any]:
        """Return opts.yaml, from this suite or the published code, as {flag: value}.

        texts: see read_yaml. Raises UserError for an unknown run (the message lists the existing
        ones), and if the file is not a mapping.
        """
        if not self.options_file.exists():
            runs = sorted(file.parent.name for file in self.path.parent.glob("*/opts.yaml"))
            there = (
                f"There are: {', '.join(runs)}."
                if runs
                else f"Train one: {as_command('train.py')} --name {self.name}"
            )
            raise UserError(
                f"{self.options_file}: no run of that name.{did_you_mean(self.name, runs)} {there}"
            )
        return read_yaml(self.options_file, texts)

    def config(self, otherwise: Mapping[str, Any] | None = None) -> TrainConfig:
        """Return opts.yaml as a configuration.

        otherwise: {name: value} for options that the file may lack; all others then have their
        defaults.

        Raises UserError for an unknown run, or a value that does not fit.
        """
        values = options_in(
            self.options(text_options(TrainConfig)), TrainConfig, self.options_file, strict=False
        )
        named = values.get("backbone") or any(values.get(flag) for flag in NETWORK_FLAGS)
        unsaid = {
            name: value
            for name, value in (otherwise or {}).items()
            if not (named and name in NETWORK_FLAGS)
        }
        values = {**unsaid, **values, "name": self.name}
        try:
            return resolve(TrainConfig, values, given=())
        except UserError as error:
            raise UserError(f"{self.options_file}: {error}") from None

    def num_classes(self, options: Mapping[str, Any]) -> int:
        """Return the number of identities in the run's options.

        Raises UserError if it is invalid.
        """
        found = options.get("nclasses", PUBLISHED_CLASSES)
        if type(found) is not int or not 1 <= found <= MOST_CLASSES:
            raise UserError(
                f"{self.options_file}: nclasses: expected the number of identities "
                f"that were trained, from 1 to {MOST_CLASSES:,}, found {found!r}."
            )
        return found

    def add_results(self, lines: Iterable[str]) -> None:
        """Append lines to result.txt.

        It only warns if the folder is not writable, for example because it belongs to another user.
        """
        try:
            with (self.path / "result.txt").open(
                "a", encoding="utf-8", errors="surrogateescape"
            ) as file:
                file.writelines(f"{line}\n" for line in lines)
        except OSError as error:
            reason = error.strerror or str(error)
            log.warning(
                "%s: %s: the figures are not noted there.", self.path / "result.txt", reason
            )

    def save_versions(self, versions: Mapping[str, Any], goes_on: bool) -> None:
        """Write {what: version} as a line of versions.jsonl.

        Earlier lines are kept if the run is resumed.
        """
        path = self.versions_file
        before = text_of(path) if goes_on and path.exists() else ""
        write_text(path, before + json.dumps(versions) + "\n")

    def weights_file(self, which_epoch: str | int = "last") -> Path:
        """Return the checkpoint named by `--which_epoch`: last, average, average_bn, or an epoch.

        59, 059 and 60 name the same checkpoint: published runs counted epochs from 0 and kept every
        tenth.

        Raises FileNotFoundError, listing the existing checkpoints.
        """
        for label in _candidates(which_epoch):
            path = self.path / f"net_{label}.pth"
            if path.exists():
                return path
            if path.is_symlink():
                raise FileNotFoundError(
                    f"{path}: a link to {path.readlink()}, which is not there. Copy it back."
                )
        found = [path for path in self.path.glob("net_*.pth") if path.exists()]
        labels = sorted(path.stem.removeprefix("net_") for path in found)
        if labels:
            advice = f"There are: --which_epoch {', '.join(labels)}."
        else:
            advice = (
                "There is no checkpoint yet. "
                f"Train first: {as_command('train.py')} --name {self.name}"
            )
        raise FileNotFoundError(
            f"{self.path}: no checkpoint for --which_epoch {which_epoch}. {advice}"
        )


def names_a_run(text: str) -> bool:
    """Return whether --from names a run, not a folder from save_pretrained or a hub model."""
    described = Path(text, "config.json").is_file()
    return not described and Path(text).name == text and RunFolder(text).options_file.is_file()


def _candidates(which_epoch: str | int) -> list[str]:
    """Return the labels that the checkpoint may be stored under, likeliest first."""
    if not re.fullmatch(r"\d+", str(which_epoch)):
        return [str(which_epoch)]
    epoch = int(which_epoch)
    same = {9: [epoch, epoch + 1], 0: [epoch, epoch - 1]}.get(epoch % 10, [epoch])
    # Earlier versions of the published code wrote epochs without leading zeros.
    unpadded = (str(number) for number in same)
    return [*(_label(number) for number in same), str(which_epoch), *unpadded]


def _label(label: str | int) -> str:
    return f"{label:03d}" if isinstance(label, int) else label


def default_name() -> str:
    """Return the name of the run that a command uses if none is given.

    It is the only run in model/, or else ft_ResNet50.
    """
    runs = [
        file.parent.name
        for file in Path("model").glob("*/opts.yaml")
        if ".previous" not in file.parent.name
    ]
    return runs[0] if len(runs) == 1 else OF_RESNET50


def save_tensors(content: Any, path: Path) -> None:
    """Save `content` whole or not at all.

    torch.save reports a full disk with a RuntimeError; this raises OSError instead.
    """
    import torch

    with atomic_write(path) as temporary:
        try:
            torch.save(content, temporary)
        except RuntimeError as error:
            raise OSError(
                None, f"could not be written, is the disk full? ({first_line(error)})"
            ) from error


def read_history(path: str | Path) -> list[dict[str, Any]]:
    """Read the records of a run's log.jsonl; a validation loss may be NaN or infinite.

    Raises UserError if the file has no records or is damaged.
    """
    if not Path(path).exists():
        raise UserError(f"{path}: no such log; train.py writes one after the first epoch.")
    history = read_json_lines(path)
    if not history or not all(map(_of_an_epoch, history)):
        raise UserError(
            f"{path}: expected a line for each epoch with the numbers epoch, loss and error, "
            "as train.py writes them."
        )
    return history


def _of_an_epoch(record: Mapping[str, Any]) -> bool:
    """Return whether a record in log.jsonl holds only numbers, including epoch, loss and error."""
    numbers = all(
        type(value) is float or (type(value) is int and abs(value) < 2**63)
        for value in record.values()
    )
    return numbers and {"epoch", "loss", "error"} <= record.keys() and type(record["epoch"]) is int


def read_yaml(path: str | Path, texts: Collection[str] = ()) -> dict[str, Any]:
    """Read the mapping in a YAML file as plain data.

    texts: names whose values are text. `name: 0042` and `name: no` are then "0042" and "no", as
        written, although YAML would read 34 and False; null stays None.

    Raises OSError if the file does not exist, and UserError if it is not a mapping, repeats a name
    or has aliases (`*name`).
    """
    if not Path(path).exists():
        raise FileNotFoundError(f"{path}: no such options file.")
    text = content_of(path, SETTINGS_BYTES, "a file of options")
    try:
        loader = PlainLoader(text.decode())
        root = loader.get_single_node()
        for name, value in root.value if isinstance(root, yaml.MappingNode) else ():
            if name.value in texts and value.tag in NOT_TEXT:
                value.tag = "tag:yaml.org,2002:str"
        content = loader.construct_document(root) if root else None
    # PyYAML passes on whatever a conversion raises: ValueError, IndexError, RecursionError.
    except Exception as error:
        raise UserError(
            f"{path}: not readable as YAML: {' '.join(str(error).split())[:200]}"
        ) from error
    if not isinstance(content, dict):
        found = "nothing" if content is None else type(content).__name__
        raise UserError(f"{path}: expected options as 'name: value' lines, found {found}.")
    return content


NOT_TEXT = [
    f"tag:yaml.org,2002:{kind}" for kind in ("bool", "int", "float", "timestamp", "value", "merge")
]


class PlainLoader(yaml.SafeLoader):
    """A yaml.SafeLoader that rejects likely mistakes.

    A repeated name, of which the last would win, is an error; so is an alias, because a few lines
    of aliases can fill the memory. 0100 is a hundred and not octal, and 1:30 is not 90.
    """

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Return the next node of the file."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias (*name) where a value should be")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """Return a mapping. Raises YAMLError if a name occurs twice in it."""
        names = Counter(name.value for name, _ in node.value if isinstance(name, yaml.ScalarNode))
        if twice := [name for name, times in names.items() if times > 1]:
            raise yaml.YAMLError(f"{twice[0]!r} is there twice; remove one of them")
        return super().construct_mapping(node, deep)

    def construct_number(self, node: Any) -> Any:
        """Return a number as a person would read it in the file.

        If only YAML would read the text as a number, it stays text.
        """
        text = str(self.construct_scalar(node))
        if re.fullmatch("[-+]?[0-9]+", text):
            return int(text)
        return text if ":" in text else super().yaml_constructors[node.tag](self, node)


for kind in ("int", "float"):
    PlainLoader.add_constructor(f"tag:yaml.org,2002:{kind}", PlainLoader.construct_number)


def check_run_name(name: str) -> None:
    """Raise UserError for a name that some operating system rejects, or that looks like a flag."""
    here = RunFolder(name).path.exists()  # made by an earlier version, or not meant for Windows
    forbidden = set("/\\") if here else set('/\\<>:"|?*')
    if not name.isprintable() or set(name) & forbidden or name[:1] in " .-" or name[-1:] in " .":
        raise UserError(
            f'name={name!r}: expected a plain name, without any of / \\ < > : " | ? '
            "* and control characters, that does not begin with a dot, dash or space, "
            "nor end with a dot or space."
        )
    if DEVICE.match(name) and not here:
        raise UserError(f"name={name}: is a reserved name on Windows. Choose another name.")
    if len(os.fsencode(name)) > LONGEST_NAME:
        raise UserError(
            f"name={name[:20]}…: expected at most {LONGEST_NAME} bytes, "
            f"found {len(os.fsencode(name))}."
        )

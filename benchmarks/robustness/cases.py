"""Cases of hostile.py that are written down.

They are tables, options files and folders as other people and programs leave them.

Most of these once ended in a wrong result without a word. So a case says what the right end is: the
command refuses, or it works and leaves what it should.
"""

import csv
import os
import re
import shutil
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image

from benchmarks.robustness.children import run
from benchmarks.robustness.workspace import RUN, SMALL, WORKING, call
from person_reid.files import write_json
from person_reid.gallery.index import SearchIndex
from person_reid.retrieval.results import FeatureSet, load_result, save_multi_query

Spoil = Callable[[Path], None]
Look = Callable[[Path, str], str]
Change = Callable[[str], str | bytes]


@dataclass(frozen=True)
class Case:
    """A command line in a workspace, and how it may end.

    kind: its row in the table. title: what is odd about it.
    spoil: changes the workspace before the command. before: is called in the command's process.
    must_fail, must_work: whether status 0 is wrong, or the only right one.
    look: (workspace, output) → what is wrong with what the command left or said, or "".
    beside: (command, words) of commands that run at the same time.
    call: (command, words, before) runs it in place of a script.
    """

    kind: str
    command: str
    words: list[str]
    title: str = ""
    spoil: Spoil | None = None
    before: Spoil | None = None
    must_fail: bool = False
    must_work: bool = False
    look: Look | None = None
    beside: tuple[tuple[str, list[str]], ...] = ()
    call: Callable[..., None] = call


def written_down():
    """Return all cases of this module."""
    odd = (odd_weights, odd_numbers, odd_environments, odd_files, odd_sets, odd_indexes)
    return [case for cases in (tables, lists_of_errors, options_files, *odd) for case in cases()]


# ----- tables: list.csv of prepare.py, who.csv of search.py, errors.csv of label_errors.py


def first_line(text, change):
    """Return a table whose first line is changed by a function."""
    head, _, rest = text.partition("\n")
    return f"{change(head)}\n{rest}"


def each_line(text, change):
    """Return a table whose lines below the first are changed by a function of (number, text)."""
    head, *lines = text.splitlines()
    return "\n".join([head, *(change(number, line) for number, line in enumerate(lines))]) + "\n"


def again(text, **values):
    """Return a table with its first image once more at the end, with other values."""
    head, first, *_ = text.splitlines()
    row = dict(zip(head.split(","), first.split(","), strict=True)) | values
    return f"{text}{','.join(row.values())}\n"


def by_another_name(text):
    """Return a name of the first image of a table that leads to the same file."""
    return f"people/../{text.splitlines()[1].partition(',')[0]}"


def cells(text, name, change):
    """Return a table with a column's values changed by a function of (number, value)."""
    place = text.partition("\n")[0].split(",").index(name)

    def changed(number, line):
        values = line.split(",")
        values[place] = change(number, values[place])
        return ",".join(values)

    return each_line(text, changed)


def pointed(text, name):
    """Return a table in which a column is written as pandas writes a column with gaps: 3.0."""
    return cells(
        text, name, lambda _, value: f"{value}.0" if re.fullmatch("[0-9]+", value) else value
    )


def without_first(text):
    """Return a table without its first image."""
    head, _, *lines = text.splitlines(keepends=True)
    return "".join([head, *lines])


# The same table in other writings: it must be read, and say the same.
WRITINGS: dict[str, Change] = {
    "semicolons": lambda text: text.replace(",", ";"),
    "semicolons that end each line": lambda text: text.replace(",", ";").replace("\n", ";;\n"),
    "tabs": lambda text: text.replace(",", "\t"),
    "a line for Excel": lambda text: "sep=;\n" + text.replace(",", ";"),
    "UTF-16": lambda text: text.encode("utf-16"),
    "UTF-8 with a mark": lambda text: text.encode("utf-8-sig"),
    "capitals and blanks": lambda text: first_line(
        text, lambda line: line.replace(",", " , ").title()
    ),
    "blanks after commas": lambda text: text.replace(",", ", "),
    "quotation marks": lambda text: re.sub("[^,\n]+", r'"\g<0>"', text),
    "line ends of Windows": lambda text: text.replace("\n", "\r\n"),
    "empty lines": lambda text: text.replace("\n", "\n\n"),
    "the column of pandas": lambda text: each_line(
        first_line(text, lambda line: f",{line}"), lambda n, s: f"{n},{s}"
    ),
    "identities with a point": lambda text: pointed(text, "identity"),
    "a line twice": again,
}
# These cannot be read, or could be read in two ways.
UNCLEAR: dict[str, Change] = {
    "Latin-1": lambda text: again(text, path="caf\xe9.jpg").encode("latin-1"),
    "a column twice": lambda text: first_line(text, lambda line: f"{line},identity"),
    "a column without a name": lambda text: each_line(text, lambda _, line: f"{line},7"),
    "a column nearly called so": lambda text: first_line(
        text, lambda line: line.replace("identity", "identitty")
    ),
    "no lines": lambda text: "",
    "no names": lambda text: text.partition("\n")[2],
    "a zero byte": lambda text: text.replace(",", "\0,", 3),
    "a quotation mark alone": lambda text: each_line(
        text, lambda n, line: f'"{line}' if n == 1 else line
    ),
}
TWO_PEOPLE: dict[str, Change] = {"one image, two people": lambda text: again(text, identity="77")}
IMAGES: dict[str, Change] = {
    "cameras with a point": lambda text: pointed(text, "camera"),
    "splits in capitals": lambda text: cells(text, "split", lambda _, value: value.title()),
    "one image by two names": lambda text: again(text, path=by_another_name(text)),
}
UNCLEAR_IMAGES: dict[str, Change] = {
    "one image, two cameras": lambda text: again(text, camera="9"),
    "one image in two splits": lambda text: again(text, split="gallery"),
    "one image by two names, two people": lambda text: again(
        text, path=by_another_name(text), identity="77"
    ),
    "a column nearly called camera": lambda text: first_line(
        text, lambda line: line.replace("camera", "cam")
    ),
    "a rounded identity": lambda text: again(text, path="one.jpg", identity="1.2E+11"),
    "half a column of splits": lambda text: cells(
        text, "split", lambda n, value: value if n % 2 else ""
    ),
    "an unknown split": lambda text: cells(
        text, "split", lambda n, value: value if n else "holdout"
    ),
    "an image that is not there": lambda text: again(text, path="people/nobody.jpg"),
}
# Identities of a training image.
NOBODIES = ("-1", "0", "-1.0", "0.0", "nan", "", "unknown", "NULL")


def tables():
    """Yield a case for each table that a command reads, and each way to write it."""
    kind = "table written otherwise"
    images = partial(laid_out_as, str)
    for file, command, changes, unclear, look in (
        (
            "list.csv",
            "prepare --csv",
            WRITINGS | IMAGES,
            UNCLEAR | TWO_PEOPLE | UNCLEAR_IMAGES,
            images,
        ),
        ("who.csv", "search apply", WRITINGS, UNCLEAR | TWO_PEOPLE, recorded),
        ("errors.csv", "prepare --corrections", WRITINGS, UNCLEAR, mended),
    ):
        for title, change in changes.items():
            spoil = partial(rewrite, file, change)
            yield Case(kind, command, WORKING[command], title, spoil, must_work=True, look=look)
        for title, change in unclear.items():
            yield Case(
                kind,
                command,
                WORKING[command],
                title,
                partial(rewrite, file, change),
                must_fail=True,
            )
    command = "prepare --csv"
    for who in NOBODIES:
        change = partial(
            cells, name="identity", change=lambda n, value, who=who: value if n else who
        )
        spoil, look = partial(rewrite, "list.csv", change), partial(laid_out_as, without_first)
        title = f"identity {who!r} to train on"
        yield Case(kind, command, WORKING[command], title, spoil, must_work=True, look=look)


def rewrite(file, change, workspace):
    """Write a file of the workspace in another way.

    `before` keeps it as it was, `given` as the command is given it.
    """
    text = (workspace / file).read_text(encoding="utf-8")
    content = change(text)
    (workspace / "before").write_text(text)
    (workspace / "given").write_bytes(content if isinstance(content, bytes) else content.encode())
    (workspace / file).write_bytes((workspace / "given").read_bytes())


def laid_out_as(change, workspace, output):
    """Compare the images that prepare.py --csv has laid out with list.csv.

    change: function that brings the text of list.csv into the usual form.
    """
    rows = csv.DictReader(change((workspace / "before").read_text()).splitlines())
    folders = {"train": "train_all"}
    wanted = Counter(
        (folders.get(row["split"], row["split"]), int(row["identity"]), row["camera"])
        for row in rows
    )
    pattern = re.compile("(train_all|query|gallery)/([^/]+)/.*_c([^_s]+)s?[^/]*")
    places = (
        path.relative_to(workspace / "out").as_posix()
        for path in (workspace / "out").rglob("*.jpg")
    )
    matches = (pattern.fullmatch(place) for place in places)
    found = Counter((match[1], int(match[2]), match[3]) for match in matches if match)
    return "" if found == wanted else f"laid out {found - wanted}, not {wanted - found}"


def recorded(workspace, output):
    """Compare the identities in the index with those in who.csv."""
    rows = csv.DictReader((workspace / "before").read_text().splitlines())
    index = SearchIndex(workspace / "people.index")
    found = {
        str(path): about.identity or "" for images, _ in index.entries() for path, about in images
    }
    index.close()
    wanted = {row["path"]: row["identity"] for row in rows}
    return "" if wanted.items() <= found.items() else f"recorded {found}, not {wanted}"


def mended(workspace, output):
    """Compare a layout with that of the list in the usual writing."""
    found = {
        path.relative_to(workspace / "mended").as_posix()
        for path in (workspace / "mended").glob("*/*/*.jpg")
    }
    wanted = set((workspace / "mended.txt").read_text().split())
    return "" if found == wanted else f"laid out {sorted(found ^ wanted)}"


def lists_of_errors():
    """Yield a case for each writing of a list of label errors that label_errors.py would renew."""
    command = "label_errors again"
    for title, change in (WRITINGS | UNCLEAR).items():
        if title != "no lines":  # with which nothing is lost
            spoil = partial(rewrite, "errors.csv", change)
            yield Case(
                "list with decisions",
                command,
                WORKING[command],
                title,
                spoil,
                look=decisions_are_there,
            )


def decisions_are_there(workspace, output):
    """Look for the list that was there."""
    given = (workspace / "given").read_bytes()
    kept = any(path.read_bytes() == given for path in workspace.glob("errors*.csv"))
    return "" if kept else "the list with decisions is gone"


# ----- options files

OPTIONS: dict[str, Change] = {
    "a key twice": lambda text: text + text.splitlines()[0] + "\n",
    "a key twice, once in quotation marks": lambda text: f"{text}'backbone': osnet_x0_25\n",
    "an unknown key": lambda text: f"{text}learning_rate: 0.1\n",
    "a list": lambda text: f"{text}droprate: [0.1, 0.2]\n",
    "a mapping": lambda text: f"{text}droprate: {{share: 0.1}}\n",
    "nested, as other programs write": lambda text: f"{text}solver:\n  lr: 0.1\n",
    "a yes for a number": lambda text: f"{text}droprate: yes\n",
    "a word for a number": lambda text: f"{text}droprate: half\n",
    "a true for a whole number": lambda text: f"{text}warm_epoch: true\n",
    "a fraction for a whole number": lambda text: f"{text}instances: 1.5\n",
    "a number beyond its range": lambda text: f"{text}erasing_p: 3\n",
    "a number beyond all": lambda text: f"{text}lr: 1e400\n",
    "not a number": lambda text: f"{text}lr: .nan\n",
    "an alias": lambda text: f"{text}droprate: &rate 0.1\nerasing_p: *rate\n",
    "an object": lambda text: f"{text}droprate: !!python/object/apply:os.getcwd []\n",
    "a tab": lambda text: f"{text}\tdroprate: 0.1\n",
    "a list of all": lambda text: "".join(f"- {line}\n" for line in text.splitlines()),
    "two documents": lambda text: f"{text}---\n{text}",
    "deep brackets": lambda text: f"{text}droprate: {'[' * 20_000}\n",
    "Latin-1": lambda text: f"{text}name: caf\xe9\n".encode("latin-1"),
    "nothing": lambda text: "",  # the defaults look for Market-1501
}
# {title: (change, options that the run must have)}
MEANINGS: dict[str, tuple[Change, dict[str, object]]] = {
    "a name of digits": (lambda text: f"{text}name: 0042\n", {"name": "0042"}),
    "a name of hexadecimal digits": (lambda text: f"{text}name: 0x1F\n", {"name": "0x1F"}),
    "a name with a point": (lambda text: f"{text}name: 1.50\n", {"name": "1.50"}),
    "the name no": (lambda text: f"{text}name: no\n", {"name": "no"}),
    "a date for a name": (lambda text: f"{text}name: 2026-11-27\n", {"name": "2026-11-27"}),
    "a number with noughts": (
        lambda text: text.replace("height: 64", "height: 0064"),
        {"height": 64},
    ),
    "a number with an exponent": (lambda text: f"{text}lr: 1e-2\n", {"lr": 0.01}),
    "line ends of Windows": (lambda text: text.replace("\n", "\r\n"), {"batchsize": 8}),
    "UTF-8 with a mark": (lambda text: text.encode("utf-8-sig"), {"batchsize": 8}),
    "remarks": (lambda text: text.replace("\n", "  # why\n"), {"batchsize": 8}),
}


def options_files():
    """Yield a case for each way to write the options of a training."""
    kind, command = "options file written otherwise", "train --config"
    for title, change in OPTIONS.items():
        spoil = partial(rewrite, "options.yaml", change)
        yield Case(kind, command, WORKING[command], title, spoil, must_fail=True)
    for title, (change, wanted) in MEANINGS.items():
        spoil, look = partial(rewrite, "options.yaml", change), partial(options_are, wanted)
        yield Case(kind, command, WORKING[command], title, spoil, must_work=True, look=look)


def options_are(wanted, workspace, output):
    """Compare the options of the new run with those wanted."""
    runs = [
        path.name
        for path in (workspace / "model").iterdir()
        if path.name != "run" and path.is_dir()
    ]
    file = workspace / "model" / str(wanted.get("name", (runs or [""])[0])) / "opts.yaml"
    if not file.is_file():
        return f"the runs are {runs}"
    found = yaml.safe_load(file.read_text())
    return (
        ""
        if wanted.items() <= found.items()
        else f"{ {key: found.get(key) for key in wanted} }, not {wanted}"
    )


# ----- weights, numbers, environments


def says(pattern, workspace, output):
    """Look for a regular expression in the output."""
    return "" if re.search(pattern, output) else f"does not say {pattern!r}"


def odd_weights():
    """Yield cases of weights that no network can take, that make zeros, or that are gone."""
    commands = ["test", "compare", "label_errors of a run", "search index of a run"]
    changes = {"zeros": torch.zeros_like, "not numbers": lambda value: value * float("nan")}
    unusable = {
        "sparse": lambda value: value.to_sparse(),
        "complex": lambda value: value.to(torch.complex64),
        "without values": lambda value: value.to("meta"),
    }
    spoils = {
        title: partial(changed_weights, change) for title, change in (changes | unusable).items()
    }
    for title, spoil in (spoils | {"a link to what is gone": link_to_nothing}).items():
        # These two compare no features.
        of_files = [] if title in changes else ["export", "save_pretrained"]
        for command in (*commands, *of_files):
            yield Case("odd weights", command, WORKING[command], title, spoil, must_fail=True)


def changed_weights(change, workspace):
    """Write the weights of the run with each tensor changed by a function."""
    file = workspace / "model" / "run" / "net_last.pth"
    tensors = torch.load(file, weights_only=True)
    file.unlink()
    torch.save(
        {name: change(value) if value.ndim else value for name, value in tensors.items()}, file
    )


def link_to_nothing(workspace):
    """Put a link to what is gone in the place of the weights."""
    (workspace / "model" / "run" / "net_last.pth").unlink()
    (workspace / "model" / "run" / "net_last.pth").symlink_to("/nowhere/net_last.pth")


def odd_numbers():
    """Yield cases of numbers that no threshold, folder or flag can mean."""
    deep = "[" * 200_000
    reports = [
        f'{{"threshold": {value}}}'
        for value in ("85", "-3", "true", '"0.5"', "NaN", "1e999", "null", "[0.5]")
    ]
    flags = [
        f'{{"threshold": 0.5, "flags": "{value}"}}'
        for value in ("--camera_norm center", "--help", "'")
    ]
    for report in (*reports, deep, "{}", "[]", ""):
        for command in ("compare", "demo", "figures histogram", "search query", "search identify"):
            words = ["one.jpg", "two.jpg", *RUN] if command == "compare" else WORKING[command]
            given, spoil = [*words, "--threshold", "odd.json"], partial(write, "odd.json", report)
            yield Case("odd threshold", command, given, report[:30], spoil, must_fail=True)
    for report in flags:
        given = ["one.jpg", "two.jpg", *RUN, "--threshold", "odd.json"]
        spoil = partial(write, "odd.json", report)
        yield Case("odd threshold", "compare", given, report, spoil, must_fail=True)
    for config in ('{"height": 0}', '{"height": "64"}', '{"height": true}', deep, "[]"):
        spoil = partial(described_so, config)
        yield Case(
            "odd threshold", "test", ["--from", "folder"], config[:30], spoil, must_fail=True
        )
    pattern = "(?P<id>-?[0-9]+)_c(?P<camera>[0-9])"
    for command, words in (
        ("train", ["--seed=-1"]), ("train", ["--lr=1e300"]),
        ("train", ["--loss=cross_entropy:1e300"]), ("train", ["--loss=cross_entropy:0"]),
        ("train", ["--lr=1e8", "--total_epoch=3"]),
        ("prepare", ["--pattern", pattern, "--seed=-1"]),
        ("evaluate_rerank", ["--alpha=1e300"]),
    ):  # fmt: skip
        given = [*WORKING[command], *words]
        yield Case("odd number", command, given, words[-1], must_fail=True, look=no_resume)


def no_resume(workspace, output):
    """--resume would repeat a loss that is not a number."""
    return "advises --resume" if "continue with --resume" in output else ""


def write(name, text, workspace):
    """Write a file of the workspace."""
    (workspace / name).write_text(text)


def described_so(config, workspace):
    """Make a folder of save_pretrained whose config.json says something else."""
    run(partial(call, "save_pretrained", WORKING["save_pretrained"]), workspace, 60)
    file = workspace / "folder" / "config.json"
    if config.startswith("{"):
        write_json(file, yaml.safe_load(file.read_text()) | yaml.safe_load(config))
    else:
        file.write_text(config)


def odd_environments():
    """Yield cases of variables, and of outputs that nobody reads or that are full."""
    kind, jupyter = "odd environment", {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    for command in (
        "train",
        "demo",
        "threshold",
        "figures cmc",
        "figures curves",
        "report",
        "heatmap",
    ):
        yield Case(
            kind,
            command,
            WORKING[command],
            "Jupyter",
            before=partial(setting, jupyter),
            must_work=True,
        )
    for variables in ({"LOCAL_RANK": "0"}, {"LOCAL_RANK": "x", "RANK": "0", "WORLD_SIZE": "2"}):
        for command in ("train", "test"):
            before = partial(setting, variables)
            yield Case(
                kind, command, WORKING[command], str(variables), before=before, must_fail=True
            )
    for title, spoilt in {"a reader that has ended": unread, "a full log": full}.items():
        for command, file in {
            "test": "pytorch_result.mat", "train": "model/new/net_last.pth",
            "threshold": "threshold.json", "evaluate --json": "figures.json",
            "search people": "people.csv", "prepare": "out/.prepared.json",
        }.items():  # fmt: skip
            look, spoil = partial(is_there, file), partial(remove, file)
            yield Case(kind, command, WORKING[command], title, spoil, spoilt, look=look)


def setting(variables, workspace):
    """Set variables of the environment."""
    os.environ.update(variables)


def unread(workspace):
    """Let standard output lead to a program that has ended, as head does."""
    reading, writing = os.pipe()
    os.close(reading)
    print_to(writing)


def full(workspace):
    """Let standard output lead to a full disk."""
    print_to(os.open("/dev/full", os.O_WRONLY))


def print_to(number):
    """Let Python's own standard output lead to an open file."""
    os.dup2(number, 1)
    sys.__stdout__ = sys.stdout  # type: ignore[assignment, misc]  # as in a process of its own


def remove(file, workspace):
    """Remove a file of the workspace."""
    (workspace / file).unlink(missing_ok=True)


def is_there(file, workspace, output):
    """Look for a file."""
    return "" if (workspace / file).is_file() else f"{file} is lost"


# ----- outputs and paths


def odd_files():
    """Yield cases of outputs that would replace something else, and of paths that lead nowhere."""
    kind = "output over another's file"
    for command, words in (
        ("explore", ["--save", "none/../precious"]),
        ("save_pretrained", [*RUN, "--output", "/"]),
        ("test", [*WORKING["test"], "--result", "model/run/net_last.pth"]),
        ("evaluate", ["--json", "r.json", "--save_per_query", "r.json"]),
    ):
        yield Case(kind, command, words, must_fail=True)
    result, thesis = partial(copy, "pytorch_result.mat"), partial(copy, "precious/thesis.txt")
    for command, words, file, spoil in (
        ("evaluate", ["--result", "r.json", "--json", "r.json"], "r.json", result),
        ("threshold", ["--save", "new"], "new.png", thesis),
        ("label_errors", [*WORKING["label_errors"], "--save", "new"], "new.mat", thesis),
        ("export", [*RUN, "--for", "openvino", "--output", "new.xml"], "new.bin", thesis),
        (
            "search query",
            [*WORKING["search query"], "--top", "1", "--save", "mine.jpg"],
            "mine.jpg",
            indexed,
        ),
    ):
        yield Case(
            kind,
            command,
            words,
            file,
            partial(spoil, file),
            must_fail=True,
            look=partial(same_bytes, file),
        )
    kind = "path that leads nowhere"
    for command, words in {
        "test": ["--result", "loop.mat"], "evaluate": ["--json", "loop.json"],
        "demo": ["--save", "loop.png"], "prepare": ["--save_dir", "loop"],
        "explore": ["--save", "loop"], "train": ["--data_dir", "loop"],
        "compare_networks": ["--networks", "/"],
    }.items():  # fmt: skip
        yield Case(kind, command, [*WORKING[command], *words], words[-1], loops, must_fail=True)
    yield Case(kind, "train", WORKING["train"], "model is a file", model_file, must_fail=True)


def copy(source, target, workspace):
    """Copy a file of the workspace, and keep what it holds."""
    shutil.copy(workspace / source, workspace / target)
    shutil.copy(workspace / source, workspace / "given")


def same_bytes(file, workspace, output):
    """Compare a file with what it was."""
    return (
        ""
        if (workspace / file).read_bytes() == (workspace / "given").read_bytes()
        else f"{file} is another"
    )


def indexed(file, workspace):
    """Add an image to the index that is not the nearest of any."""
    Image.fromarray(np.zeros((64, 32, 3), np.uint8)).save(workspace / file)
    shutil.copy(workspace / file, workspace / "given")
    run(partial(call, "search index", [file, "--index", "people.index", *SMALL]), workspace, 60)


def loops(workspace):
    """Make links that lead back to themselves."""
    for name in ("loop", "loop.mat", "loop.json", "loop.png"):
        (workspace / name).symlink_to(name)


def model_file(workspace):
    """Put a file where the folder of runs should be."""
    shutil.rmtree(workspace / "model")
    (workspace / "model").write_text("mine")


# ----- data sets


def odd_sets():
    """Yield cases of folders and lists that say less, or something else, than they seem to."""
    kind, command = "odd data set", "prepare --csv"
    words = ["--dataset", "folder", "--data_dir", "own", "--save_dir", "out"]
    words += ["--pattern", "(?P<id>-?[0-9]+)_c(?P<camera>[0-9])"]
    capitals = {"bounding_box_train": "Train", "query": "QUERY", "bounding_box_test": "Test"}
    left_out = "Left out.*none of.*: 12"
    for title, names, said in (
        ("folders in capitals", capitals, "gallery +2 "),
        ("another folder", capitals | {"gt_bbox": "extra"}, left_out),
        ("loose images", capitals | {"gt_bbox": "."}, left_out),
    ):
        spoil, look = partial(own_folder, names), partial(says, said)
        yield Case(kind, "prepare", words, title, spoil, must_work=True, look=look)
    for title, kept, fails in (
        ("no gallery", ("train", "query"), False),
        ("queries alone", ("query",), True),
    ):
        spoil = partial(rewrite, "list.csv", partial(splits_of, kept))
        look = partial(says, "gallery")
        yield Case(
            kind,
            command,
            WORKING[command],
            title,
            spoil,
            must_fail=fails,
            must_work=not fails,
            look=look,
        )
    spoil = partial(
        rewrite, "list.csv", lambda text: re.sub(",[a-z]+$", "", text, flags=re.MULTILINE)
    )
    given = [*WORKING[command], "--test_fraction", "0.01"]
    look = partial(says, "nothing to test on")
    yield Case(kind, command, given, "nobody to test on", spoil, must_work=True, look=look)
    one = partial(only, "people/pytorch/train", "0001")
    yield Case(kind, "train", WORKING["train"], "one person", one, must_fail=True)
    for title, change, command, said in (
        ("nobody to validate on", strangers, "train", "(?i)validation"),
        ("an image in another's folder", moved, "test", "0005.*0006|0006.*0005"),
        ("multiple queries of another width", partial(multi_query, 8, 0), "evaluate", "left out"),
        ("multiple queries of other people", partial(multi_query, 512, 70), "evaluate", "left out"),
    ):
        yield Case(
            kind, command, WORKING[command], title, change, must_work=True, look=partial(says, said)
        )
    given = ["kelvin.tif", "white.tif", "--threshold", "0.5", *RUN]
    yield Case(kind, "compare", given, "temperatures of an unknown range", kelvins, must_fail=True)
    given = [*given, "--bits", "9"]
    yield Case(kind, "compare", given, "temperatures", kelvins, must_work=True, look=unlike)


def own_folder(names, workspace):
    """Make a folder of images by copying folders of the workspace. names: {folder: its copy}."""
    for source, target in names.items():
        shutil.copytree(
            workspace / "people" / source, workspace / "own" / target, dirs_exist_ok=True
        )


def splits_of(kept, text):
    """Return the lines of list.csv of some splits."""
    head, *lines = text.splitlines(keepends=True)
    return "".join([head, *(line for line in lines if line.rstrip().rpartition(",")[2] in kept)])


def only(folder, name, workspace):
    """Leave only one person of a folder."""
    for path in (workspace / folder).iterdir():
        if path.name != name:
            shutil.rmtree(path)


def strangers(workspace):
    """Let the images for validation show people that are not trained on."""
    for path in (workspace / "people" / "pytorch" / "val").iterdir():
        path.rename(path.with_name(f"9{path.name}"))


def moved(workspace):
    """Put an image of one person into the folder of another."""
    image = next((workspace / "people" / "pytorch" / "query" / "0005").glob("*.jpg"))
    image.rename(image.parent.parent / "0006" / image.name)


def multi_query(width, further, workspace):
    """Write multiple-query features that do not belong to the result."""
    query, _ = load_result(workspace / "pytorch_result.mat")
    features = np.eye(len(query), width, dtype=np.float32)
    images = FeatureSet(features, query.labels + further, query.cameras)
    save_multi_query(workspace / "multi_query.mat", images, images if further else query)


def kelvins(workspace):
    """Write temperatures as floating-point numbers above 255, beside an image that is white."""
    warm = np.random.default_rng(0).normal(300, 4, (64, 32)).astype(np.float32)
    warm[16:48, 8:24] += 12
    for name, pixels in {"kelvin": warm, "white": np.full_like(warm, 255)}.items():
        Image.fromarray(pixels).save(workspace / f"{name}.tif")


def unlike(workspace, output):
    """Temperatures above 255 are not white."""
    return "the temperatures are clipped" if "similarity 1.0000" in output else ""


# ----- indexes


def odd_indexes():
    """Yield cases of indexes: other programs' files, some put back, some that grow while read."""
    kind, command = "odd index", "search query"
    for table in ("images (name TEXT)", "images (path TEXT, feature BLOB)", "cookies (value TEXT)"):
        words = ["people/query", "--index", "foreign.db", *SMALL]
        look = partial(same_bytes, "foreign.db")
        yield Case(
            kind, "search index", words, table, partial(foreign, table), must_fail=True, look=look
        )
    asked = ["--index", "people.index", "--gpu_ids", "-1", "--json", "found.json"]
    growing = ("search index", ["people/bounding_box_train", "--index", "people.index", *SMALL])
    grown = partial(Case, kind, command, before=few, must_work=True, look=nearest_itself)
    for _ in range(3):
        yield grown(["people/query", *asked], "it grows", beside=(growing,))
    yield grown(["people/query", "people/bounding_box_train", *asked], "it was put back", put_back)


def foreign(table, workspace):
    """Make a database of another program."""
    database = sqlite3.connect(workspace / "foreign.db")
    database.execute(f"CREATE TABLE {table}")
    database.commit()
    database.close()
    shutil.copy(workspace / "foreign.db", workspace / "given")


def few(workspace):
    """Let an index of a few images be searched as one of more than 100,000 is."""
    from person_reid.gallery import index

    index.EXACT = 3


def put_back(workspace):
    """Let an index grow, put its copy in its place, and let it grow otherwise."""

    def grow(folder):
        for command, words in (
            ("search index", [folder, *SMALL]),
            ("search query", ["one.jpg", "--gpu_ids", "-1"]),
        ):
            run(partial(call, command, [*words, "--index", "people.index"], few), workspace, 60)

    shutil.copy(workspace / "people.index", workspace / "copy")
    grow("people/bounding_box_test")
    shutil.copy(workspace / "copy", workspace / "people.index")
    grow("people/bounding_box_train")


def nearest_itself(workspace, output):
    """Look for each query among its answers: all are in the index."""
    if not (workspace / "found.json").is_file():
        return ""
    wrong = []
    for query in yaml.safe_load((workspace / "found.json").read_text())["queries"]:
        same = [
            Path(match["image"]).name for match in query["matches"] if match["similarity"] > 0.9999
        ]
        if Path(query["image"]).name not in same:  # one.jpg is a copy of one of them
            wrong.append(query["image"])
    return f"not nearest to themselves: {wrong}" if wrong else ""

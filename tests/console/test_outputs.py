"""Outputs over inputs, and paths: for every flag that a parser declares, of every script."""

import argparse
import os
import re
from argparse import Namespace
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from PIL import Image

from benchmarks.support.people import write_people
from person_reid.console.main import COMMANDS
from person_reid.console.outputs import check_outputs
from person_reid.console.parser import Parser
from person_reid.data.layout import read_split
from person_reid.deploy import find
from person_reid.errors import UserError
from person_reid.files import real
from person_reid.gallery.index import SearchIndex
from person_reid.retrieval.results import FeatureSet, save_result
from tests.support.scripts import end, module_of

# Words without which a command line is refused before its flags matter. FILE is the file at risk.
NEEDED = {
    "compare": ["FILE", "FILE", "--threshold", "0.5"],
    "compare_networks": ["--networks", "none", "--test_dirs", "data"],
    "export": ["--backbone", "osnet_x0_25", "--weights", "none"],
    "save_pretrained": ["--output", "folder"],
    "search index": ["photo.jpg", "--index", "own.index"],
    "search query": ["photo.jpg", "--index", "own.index"],
    "search enroll": ["Anna", "photo.jpg", "--index", "own.index"],
    "search identify": ["photo.jpg", "--index", "own.index"],
    "search people": ["--index", "own.index"],
    "search apply": ["FILE", "--index", "own.index"],
    "search forget": ["--index", "own.index"],
    "serve": ["--index", "own.index", "--camera", "door=0"],
    "across": ["--index", "own.index"],
    "people": ["photo.jpg"],
    "report": ["--backbone", "osnet_x0_25", "--weights", "none"],
    "label_errors": ["--data_dir", "data", "--backbone", "osnet_x0_25", "--weights", "none"],
    "augmentations": ["--data_dir", "data"],
    "reproduce": ["--table"],
    "ablation": ["FILE"],
}  # fmt: skip
# Flags of any script whose text is not a path. A flag that is in none of the three sets fails the
# test below.
WORDS = {
    "name", "backbone", "which_epoch", "attention", "identity", "camera", "track", "source",
    "pattern", "dataset", "gpu_ids", "loss", "milestones", "resize_schedule", "ms", "mean",
    "std", "seeds", "rows", "query_index", "labels", "after", "before", "person", "classes",
    "feature_output", "published", "freeze_layers", "rates", "ranks", "augment", "writers",
    "plugin", "where", "query_camera", "places", "start", "paper_width", "host",
    "part", "root_path",
}  # fmt: skip
READ = {
    "scores",
    "weights", "from", "from_run", "engine", "threshold", "result", "other", "index",
    "label_errors", "test_dir", "multi_query", "images", "results", "recipes", "about", "table",
    "image", "config", "data_dir", "train_with", "DG_dir", "teacher", "networks", "test_dirs",
    "calibrate", "csv", "corrections", "tracks", "frames", "travel", "truth", "network",
    "videos", "detector",
    "certificate", "key", "tokens",
    "copy",  # written by `gallery backup`, over an older copy alone
    "crops",  # of which a folder of its own is written
}  # fmt: skip
FOLDERS = {
    "test_dir",
    "data_dir",
    "images",
    "calibrate",
    "test_dirs",
    "DG_dir",
    "train_with",
    "save_dir",
}
OUTPUTS = ("output_path", "output_file", "picture_file")
NUMBERS = ("int", "float", "seeds", "numbers", "moment", "instant", "age")


def parsers():
    """{script or `search query`: its parser}."""
    found: dict[str, Parser] = {}
    for name in COMMANDS:
        made: list[Parser] = []

        def capture(parser, args=None, namespace=None, made=made):
            made.append(parser)
            raise SystemExit

        main = module_of(name).main
        with patch.object(Parser, "parse_known_args", capture), suppress(SystemExit):
            main([])
        below = [
            action for action in made[-1]._actions if isinstance(action, argparse._SubParsersAction)
        ]
        found |= {
            f"{name} {word}": parser for action in below for word, parser in action.choices.items()
        }
        if not below:
            found[name] = made[-1]
    return found


PARSERS = parsers()


def kind(action):
    return getattr(action.type, "__name__", "")


def valued(parser):
    """The flags and words of a parser that take a text."""
    return [action for action in parser._actions if action.nargs != 0 and not action.choices]


WRITERS = [
    (script, a) for script, parser in PARSERS.items() for a in valued(parser) if kind(a) in OUTPUTS
]
# The file that a flag writes although its type does not say so.
ENDINGS = {
    "threshold": ".json",
    "export": ".pt",
    "explore": ".html",
    "label_errors": ".csv",
    "reproduce": ".jsonl",
    "ablation": ".jsonl",
    "serve": ".jsonl",
}
# Flags that mean nothing beside those of NEEDED.
REFUSED_BEFORE = {
    "compare_networks results",
    "export from_run",
    "export calibrate",
    "reproduce recipes",
    "test result",
    "test json",
    "serve certificate",
    "serve key",
    "explore network",
    "threshold network",
    "threshold tracks",
    "threshold travel",
}
FOLDERS_WRITTEN = ("prepare", "save_pretrained")
OPEN: dict = {}


@pytest.fixture(scope="module")
def cwd(tmp_path_factory):
    """A folder with a photograph, a layout and links that lead nowhere."""
    place = tmp_path_factory.mktemp("cwd")
    for split in ("train_all", "train", "query", "gallery"):
        write_people(place / "data" / split, 2, 2)
    Image.open(next(place.rglob("*.png"))).save(place / "photo.jpg")
    (place / "thesis").mkdir()
    (place / "thesis" / "chapter").write_text("years of work")
    (place / "loop").symlink_to("loop")
    (place / "gone").symlink_to("nothing")
    (place / "file").write_text("a file")
    return place


@pytest.fixture(autouse=True)
def opened_once(monkeypatch):
    """A network that no file, folder or run describes is opened once for the same options."""

    def opened(options, *more, original=find.open_embedder, **others):
        described = options.engine or options.name or Path(options.weights or "none").exists()
        if more or others or described:
            return original(options, *more, **others)
        key = repr(options)
        if key not in OPEN:
            OPEN[key] = original(options)
        return OPEN[key]

    monkeypatch.setattr("person_reid.open_embedder", opened)  # the package keeps what it finds
    monkeypatch.setattr(find, "open_embedder", opened)


def command_line(script, *words, needed="photo.jpg", first=()):
    """The words of a script, with those that it needs before these.

    first: words before all flags.
    """
    name, _, command = script.partition(" ")
    before = [needed if word == "FILE" else word for word in NEEDED.get(script, [])]
    return name, *([command] if command else []), *first, *before, *map(str, words)


def given(script, action, value, *words):
    """A command line in which a flag, or a word without a flag, has a value."""
    if action.option_strings:
        return command_line(script, *words, action.option_strings[-1], value)
    return command_line(script, *words, first=[str(value)])


def ending(script, action):
    """The ending of the files that an output flag takes."""
    if kind(action) == "picture_file":
        return ".jpg"
    if script in ENDINGS:
        return ENDINGS[script]
    return next(
        each for each in (".json", ".csv", ".mat", ".html") if accepts(action.type, f"x{each}")
    )


def accepts(parse, text):
    with suppress(argparse.ArgumentTypeError):
        return bool(parse(text))
    return False


def test_every_flag_of_every_script_is_known_to_name_a_file_or_not():
    unknown = {
        f"{script} {action.dest}"
        for script, parser in PARSERS.items()
        for action in valued(parser)
        if kind(action) not in (*OUTPUTS, *NUMBERS, "some_name") and action.dest not in WORDS | READ
    }
    assert unknown == set(), (
        "does it name what is written (console/outputs.py), what is read, or neither?"
    )
    paths = {
        f"{script} {a.dest}"
        for script, parser in PARSERS.items()
        for a in valued(parser)
        if kind(a) in OUTPUTS
    }
    assert not {path for path in paths if path.split()[-1] in WORDS}
    assert {script.split()[0] for script, _ in WRITERS} == {
        "prepare", "test", "evaluate", "evaluate_gpu", "evaluate_rerank", "demo", "search",
        "threshold", "export", "save_pretrained", "compare_networks", "heatmap", "figures",
        "report", "explore", "label_errors", "augmentations", "reproduce", "across",
        "gallery", "people", "ablation", "serve",
    }  # fmt: skip


of_every_output = pytest.mark.parametrize(
    ("script", "output"),
    [pytest.param(script, a, id=f"{script} {a.dest}") for script, a in WRITERS],
)


@of_every_output
def test_no_output_replaces_what_another_flag_names(script, output, cwd):
    """Every other flag names the same file, by a hard link to it."""
    if script in FOLDERS_WRITTEN:
        pytest.skip("writes a folder: see the next test, and tests/data/test_prepare.py")
    file, link = cwd / f"precious{ending(script, output)}", cwd / "precious link.npy"
    written = output.option_strings[-1], file.name
    for action in valued(PARSERS[script]):
        if action.dest == output.dest or f"{script} {action.dest}" in REFUSED_BEFORE:
            continue
        for path in (file, link):
            path.unlink(missing_ok=True)
        file.write_bytes((cwd / "photo.jpg").read_bytes())
        link.hardlink_to(file)
        said, status = end(*given(script, action, link, *written), cwd=cwd)
        assert link.samefile(file), action.dest
        assert file.read_bytes() == (cwd / "photo.jpg").read_bytes(), action.dest
        if action.dest in READ:
            expected = (
                "a file; unpack an archive"
                if action.dest in FOLDERS
                else "this command reads that file"
            )
            assert status == 1, (action.dest, said)
            assert "this command reads that file" in said or expected in said, (
                action.dest,
                said,
            )


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "README.md"])
@pytest.mark.parametrize(
    "action",
    [
        pytest.param(action, id=action.dest)
        for action in valued(PARSERS["save_pretrained"])
        if action.dest in READ
    ],
)
def test_no_folder_of_a_network_replaces_what_another_flag_names(action, name, here):
    (here / "net").mkdir()
    (here / "net" / "config.json").write_text('{"library": "person_reid"}')  # as if it were its own
    file = here / "net" / name
    file.write_bytes(before := file.read_bytes() if file.exists() else b"precious")
    flag = action.option_strings[-1]
    said, status = end("save_pretrained", "--output", "net", flag, file, cwd=here)
    expected = (
        "a file; unpack an archive" if action.dest in FOLDERS else "this command reads that file"
    )
    assert status == 1
    assert expected in said
    assert file.read_bytes() == before


def test_weights_that_are_not_its_own_are_not_replaced_by_a_network(here):
    (here / "net").mkdir()
    (here / "net" / "model.safetensors").write_bytes(b"another's")
    words = ["--backbone", "osnet_x0_25", "--weights", "none", "--output", "net"]
    said, status = end("save_pretrained", *words, cwd=here)
    assert status == 1
    assert "model.safetensors, not written by save_pretrained" in said


@of_every_output
def test_no_output_replaces_a_file_of_another_kind(script, output, cwd):
    weights = cwd / "net_last.pth"
    weights.write_bytes(b"weights")
    said, status = end(*given(script, output, weights), cwd=cwd)
    assert weights.read_bytes() == b"weights"
    # Those two write net_last.pth.json and net_last.pth.csv.
    if script not in ("threshold", "label_errors"):
        assert status, said
        assert re.search(r"net_last\.pth: .*(expected|exists|a file)", said), said


EVERY_DAY = [".", "loop", "none/../thesis", "file/x", "gone"]
BEFORE_A_RELEASE = ["/", "loop/x", "file/../file"]


@pytest.mark.parametrize(
    "value",
    EVERY_DAY + [pytest.param(value, marks=pytest.mark.slow) for value in BEFORE_A_RELEASE],
)
@pytest.mark.parametrize("script", PARSERS)
def test_no_path_ends_in_a_traceback_or_removes_what_is_there(script, value, cwd):
    """Every flag that names a path, read or written, in turn."""
    ends = (*ENDINGS.values(), ".mat", ".json", ".csv", ".html", ".png")
    for action in valued(PARSERS[script]):
        if action.dest in READ or kind(action) in OUTPUTS:
            if value == "/" and action.dest in FOLDERS:  # which would be searched, for an hour
                continue
            end(*given(script, action, value), cwd=cwd)
            assert (cwd / "thesis" / "chapter").read_text() == "years of work", action.dest
            assert (cwd / "file").read_text() == "a file", action.dest
            assert (cwd / "loop").is_symlink(), action.dest
            assert not any(path.name.endswith(ends) for path in (cwd / "thesis").iterdir())
    assert not (cwd / "none").exists()


WAYS = {
    "the same name": lambda file: file.name,
    "an absolute path": lambda file: file.resolve(),
    "a path with a point": lambda file: f"./{file.name}",
    "a folder and back": lambda file: f"folder/../{file.name}",
    # The path is the one that output_path returns.
    "a missing folder and back": lambda file: real(f"none/../{file.name}"),
    "a link": lambda file: linked(file, "symlink_to"),
    "a link to a link": lambda file: linked(linked(file, "symlink_to"), "symlink_to"),
    "a hard link": lambda file: linked(file, "hardlink_to"),
    "a folder that is a link": lambda file: linked(file.parent, "symlink_to") / file.name,
}


def linked(target, how):
    link = target.parent / f"{len(list(target.parent.iterdir()))}_{target.name}"
    getattr(link, how)(target.resolve())
    return link


@pytest.mark.parametrize("way", WAYS)
def test_a_file_is_the_same_however_it_is_named(way, here):
    (here / "folder").mkdir()
    file = here / "a.json"
    file.write_text("{}")
    other = Path(WAYS[way](file))
    for options in (
        Namespace(result=other),
        Namespace(results=["b", other]),
        Namespace(networks=f"net={other} --bgr"),
    ):
        with pytest.raises(UserError, match=r"json=a\.json: this command reads that file"):
            check_outputs(options, json=[Path("a.json")])
    with pytest.raises(UserError, match="this command reads that file"):
        check_outputs(Namespace(), [other], json=[Path("a.json")])
    with pytest.raises(UserError, match="json writes this file"):
        check_outputs(Namespace(), json=[Path("a.json")], save=[None, other])
    assert file.read_text() == "{}"


def test_two_files_to_be_differ_in_more_than_case(here):
    (here / "gone.json").symlink_to("b.json")
    for first, second in (
        ("a.json", "A.json"),
        ("b.json", "gone.json"),
        ("a.json", "none/../a.json"),
    ):
        with pytest.raises(UserError, match="json writes this file"):
            check_outputs(Namespace(), json=[Path(first)], save=[Path(second)])
    check_outputs(Namespace(json="a.json"), json=[Path("a.json")], save=[Path("b.json")])
    if os.name == "posix":
        check_outputs(
            Namespace(result="/dev/null"), json=[Path("/dev/null")], save=[Path("/dev/null")]
        )


def test_what_describes_a_folder_that_is_read_is_not_replaced(here):
    for name in ("config.json", ".prepared.json", "another.json"):
        (here / "folder").mkdir(exist_ok=True)
        (here / "folder" / name).write_text("{}")
    for name in ("config.json", ".prepared.json"):
        with pytest.raises(UserError, match="this command reads that file"):
            check_outputs(Namespace(test_dir="folder"), json=[here / "folder" / name])
    check_outputs(Namespace(test_dir="folder"), json=[here / "folder" / "another.json"])


@pytest.fixture
def ranked(here):
    """A result, its images, and an index of them."""
    sets = []
    for split in ("query", "gallery", "train_all"):
        write_people(here / "data" / split, 6, 2)
    rng = np.random.default_rng(0)
    for split in ("query", "gallery"):
        found = read_split(here / "data", split)
        features = rng.normal(size=(len(found), 8)).astype(np.float32)
        features /= np.linalg.norm(features, axis=1, keepdims=True)
        sets.append(
            FeatureSet(
                features, found.labels, found.cameras, [path.as_posix() for path in found.paths]
            )
        )
    query, gallery = sets
    save_result("pytorch_result.mat", query, gallery)
    index = SearchIndex("people.index")
    index.add([real(path) for path in gallery.paths or []], gallery.features)
    index.close()
    return here


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("demo", ["--query_index", "0", "--save"]),
        ("demo", ["--query_index", "0", "--test_dir", "data", "--save"]),
        (
            "heatmap",
            ["--query_index", "0", "--backbone", "osnet_x0_25", "--weights", "none", "--save"],
        ),
        ("search", ["people", "--index", "people.index", "--min_samples", "2", "--sheet"]),
        ("label_errors", [*NEEDED["label_errors"], "--split", "gallery", "--save"]),
    ],
)
def test_no_picture_replaces_an_image_of_the_gallery(script, words, ranked):
    image = next((ranked / "data" / "gallery").rglob("*.png"))
    before = image.read_bytes()
    # prepare.py lays a download out by links.
    mine = linked(image, "hardlink_to").rename(ranked / "mine.png")
    for save in (image, mine):
        said, status = end(script, *words, save, cwd=ranked)
        assert status == 1, said
        assert f"{save}: this command reads that file" in said, said
    assert image.read_bytes() == before
    assert not list(image.parent.glob("*.csv"))


def test_what_goes_along_with_a_file_replaces_nothing_else(ranked):
    openvino = [*NEEDED["export"], "--for", "openvino", "--output", "net.xml"]
    for script, words, beside in (
        ("threshold", ["--save", "eer"], "eer.png"),
        ("label_errors", [*NEEDED["label_errors"], "--save", "list"], "list.mat"),
        ("export", openvino, "net.bin"),
        ("demo", ["--worst", "11", "--save", "show.png"], "show_02.png"),
    ):
        (ranked / beside).write_text("precious")
        said, status = end(script, *words, cwd=ranked)
        assert status == 1, said
        assert f"{beside}, which goes along with it, is there already" in said, said
        assert (ranked / beside).read_text() == "precious"


def test_no_sheet_of_several_replaces_an_image(ranked):
    image = next((ranked / "data" / "gallery").rglob("*.png"))
    linked(image, "hardlink_to").rename(ranked / "show_02.png")
    everyone = ",".join(map(str, range(11)))
    said, status = end("demo", "--query_index", everyone, "--save", "show.png", cwd=ranked)
    assert status == 1
    assert "show_02.png: this command reads that file" in said


def test_no_picture_of_a_search_replaces_an_answer(ranked, monkeypatch):
    image = next((ranked / "data" / "gallery").rglob("*.png"))
    before = image.read_bytes()
    monkeypatch.setattr(
        "person_reid.open_network", lambda *_: lambda queries: np.eye(1, 8, dtype="f4")
    )
    query = next((ranked / "data" / "query").rglob("*.png"))
    words = ["query", query, "--index", "people.index", "--json", "found.json", "--save", image]
    said, status = end("search", *words, cwd=ranked)
    assert status == 1
    assert f"{image}: this command reads that file" in said
    assert image.read_bytes() == before
    assert not (ranked / "found.json").exists()


@pytest.mark.parametrize("script", ["train", "adapt"])
def test_the_options_of_a_run_do_not_replace_the_file_of_config(script, here):
    file = here / "model" / "mine" / "opts.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("batchsize: 4  # my own")
    (here / "link.yaml").symlink_to(file)
    for path in (file, "link.yaml", "none/../model/mine/opts.yaml"):
        said, status = end(script, "--config", path, "--name", "mine", cwd=here)
        assert status == 1
        assert file.read_text() == "batchsize: 4  # my own"
        assert "would write its own options to that file" in said or "no such options file" in said
    (file.parent / "net_last.pth").touch()  # then all of it is set aside
    said, _ = end(script, "--config", file, "--name", "mine", cwd=here)
    assert "would write its own options" not in said


@pytest.mark.parametrize("flag", ["images", "about", "weights", "engine"])
def test_no_index_grows_in_a_file_that_another_flag_names(flag, cwd):
    file = cwd / "empty.index"  # SQLite would make a database of it
    file.write_bytes(b"")
    words = (
        [file, "--index", file.name]
        if flag == "images"
        else ["photo.jpg", "--index", file.name, f"--{flag}", file]
    )
    said, status = end("search", "index", *words, cwd=cwd)
    assert status == 1
    assert "this command reads that file" in said
    assert file.read_bytes() == b""

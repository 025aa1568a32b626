"""Every page: its links lead somewhere, its commands still parse, its flags are there.

Nothing is run.
"""

import argparse
import contextlib
import importlib
import io
import re
from functools import partial
from pathlib import Path
from unittest.mock import patch

import pytest

from person_reid.config import TrainConfig
from person_reid.config.people import VideosConfig
from person_reid.config.prepare import PrepareConfig
from person_reid.config.tested import TestConfig
from person_reid.console import parse
from person_reid.console.options import build
from person_reid.console.parser import Parser
from person_reid.data.downloads import data_set_named
from person_reid.errors import UserError
from tests.support import ROOT
from tests.support.pages import INLINE, PAGES, anchors, blocks, commands, line_of, links, prose
from tests.support.small_training import trained_as

# No run and no data set of somebody's own changes how a command is read.
pytestmark = pytest.mark.usefixtures("here")
# Its commands name what its own files register; test_extending.py runs them.
PLUGINS = ROOT / "docs" / "extending.md"
# It speaks of commands of its time.
CHANGES = ROOT / "CHANGELOG.md"
# Pages outside docs.
FURTHER = [
    ROOT / name
    for name in ("CONTRIBUTING.md", "CHANGELOG.md", "recipes/README.md", "benchmarks/README.md")
]
# Flags that the published code's train.py and test.py take.
PUBLISHED = {
    "train.py": """
        gpu_ids name data_dir train_all batchsize color_jitter erasing_p DG lr weight_decay
        total_epoch fp16 bf16 cosine FSGD wa linear_num stride droprate use_dense use_swin
        use_swinv2 use_dino use_efficient use_NAS use_hr use_convnext ibn usam PCB warm_epoch
        arcface circle cosface contrast instance instance_id ins_gamma triplet lifted sphere adv
        aiter""",
    "test.py": """
        gpu_ids which_epoch test_dir name batchsize linear_num multi fp16 ms use_dense
        use_efficient use_hr PCB ibn usam""",
}
SCRIPTS = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.py", "tools/*.py", "benchmarks/**/*.py")
    for path in ROOT.glob(pattern)
    if "run_script(main)" in path.read_text(encoding="utf-8")
)


def as_training(words):
    """Read the flags of train.py."""
    trained_as(*words)


def as_preparation(words):
    """Read the flags of prepare.py."""
    config = parse(PrepareConfig, words)
    if config.dataset:
        data_set_named(config.dataset)


def as_videos(words):
    """Read the flags of tools/people.py."""
    parse(VideosConfig, ["video.mp4", *words])


ORIGINALS = {name: getattr(Parser, name) for name in ("parse_args", "parse_known_args")}
WITH_CHECKS = {"train.py": as_training, "train_DDP.py": as_training, "prepare.py": as_preparation}
REPRODUCE = "tools/reproduce.py"  # whose words change a recipe
# Who reads the words that a script passes on: train.py, if it is not named here.
PASSED_ON = {
    "benchmarks/accuracy/real_cameras.py": as_videos,
    "benchmarks/speed/from_pixels.py": as_videos,
}


class Parsed(Exception):
    """The command is well-formed, and nothing of it is run. words: for another script."""

    def __init__(self, words=()):
        super().__init__(*words)
        self.words = words


def parses_only(name):
    """Parser's method of that name, which afterwards raises Parsed."""

    def parse(self, *arguments, **settings):
        with patch.multiple(Parser, **ORIGINALS):
            found = ORIGINALS[name](self, *arguments, **settings)
        raise Parsed(found[1] if name == "parse_known_args" else ())

    return parse


def read_by(path, words):
    """Let a script read a command. Raises SystemExit, UserError or OSError if it refuses."""
    if path in WITH_CHECKS:
        WITH_CHECKS[path](words)
        return
    try:
        with patch.multiple(Parser, **{name: parses_only(name) for name in ORIGINALS}):
            script(path).main(words)
    except Parsed as parsed:
        if parsed.words:
            recipe = [word for word in words if path == REPRODUCE and Path(word).is_file()][:1]
            read = PASSED_ON.get(path, as_training)
            read([*(["--config", *recipe] if recipe else []), *parsed.words])
    else:
        raise UserError("parses nothing")


def refusal(command):
    """The message of a script that refuses the command; None if it would begin to work."""
    if not (ROOT / command.script).is_file():
        return "no such script"
    if command.script.startswith("tools/docs/"):  # these have no options
        return "takes no arguments" if command.arguments else None
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            read_by(command.script, filled_in(command.arguments))
    except SystemExit as end:
        return said.getvalue().strip().splitlines()[-1] if end.code else None
    except (UserError, OSError) as error:
        return str(error)
    return None


def filled_in(words):
    """The words of a command with values for their placeholders."""
    values = {"N": "1", "--config FILE": str(ROOT / "recipes" / "demo.yaml")}
    pairs = zip(["", *words], words, strict=False)
    found = [
        values.get(word, values.get(f"{before} {word}", word))
        for before, word in pairs
        if word != "…"
    ]
    return [str(ROOT / word) if word.startswith("recipes/") else word for word in found]


def script(path):
    """The module of a script, such as tools/export.py."""
    return importlib.import_module(path.removesuffix(".py").replace("/", "."))


def refused(page):
    """A line for each command of a page that its script refuses.

    Files that the page shows are written first.
    """
    for block in blocks(page):
        if block.remark.startswith("file: "):
            file = Path(block.remark.removeprefix("file: "))
            file.parent.mkdir(exist_ok=True)
            file.write_text(block.text, encoding="utf-8")
    found = [(command, refusal(command)) for command in commands(page)]
    return [
        f"line {command.line}: {command.script}: {message}" for command, message in found if message
    ]


def dead(page, folder):
    """A line for each link of a page in `folder` that leads nowhere."""
    found = []
    for line, target in links(page):
        place, _, anchor = target.partition("#")
        file = folder / place if place else None
        if file and not file.exists():
            found.append(f"line {line}: {target}: no such file")
        elif anchor and anchor not in anchors(file.read_text(encoding="utf-8") if file else page):
            found.append(f"line {line}: {target}: no such heading")
    return found


def read(path):
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", [*PAGES, *FURTHER], ids=lambda path: path.name)
def test_every_link_leads_somewhere(path):
    assert dead(read(path), path.parent) == []


@pytest.mark.parametrize(
    "path",
    [path for path in [*PAGES, *FURTHER] if path not in (PLUGINS, CHANGES)],
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)
def test_every_command_parses(path):
    assert refused(read(path)) == []


def test_there_are_commands_of_every_script():
    named = {command.script for path in [*PAGES, *FURTHER] for command in commands(read(path))}
    assert named >= {path for path in SCRIPTS if not path.startswith("benchmarks/")}


def test_every_benchmark_is_cited_by_a_page_and_listed_with_what_it_makes():
    programs = [path for path in SCRIPTS if path.count("/") == 2]
    listed = read(ROOT / "benchmarks" / "README.md")
    assert [path for path in programs if f"`{Path(path).name}`" not in listed] == []
    rows = re.findall(r"^\| `(\w+\.py)` \|", listed, flags=re.M)
    cited = "".join(read(path) for path in PAGES)
    assert rows
    assert [name for name in rows if not re.search(rf"benchmarks/\w+/{name}", cited)] == []


def test_what_is_dead_or_refused_is_named_with_its_line(tmp_path):
    (tmp_path / "other.md").write_text("# One\n\n## Two *and* `three`, four!\n")
    page = """# Page
[good](other.md#two-and-three-four) ![picture](images/no.jpg) [me](#page), [`code`](other.md#five)
and `[no link](anywhere.md)`

```bash
python train.py --total 3 && python train.py --use_swin --use_dense   # networks
OMP_NUM_THREADS=1 torchrun --nproc_per_node 2 evaluate_gpu.py --ap step; python demo.py --top many
bash DDP.sh --train_all \\
    --no_such_flag
python -m pip install torch
person-reid serve --index a.index --hots 0.0.0.0
python tools/reproduce.py recipes/demo.yaml --seeds 3 --optimiser adam
```
`python prepare.py --synthetic --csv FILE`, `python evaluate.py [--result FILE] …`, `python
gone.py`, `python tools/figures.py cmc a.mat --ranks N`
"""
    assert dead(page, tmp_path) == [
        "line 2: images/no.jpg: no such file",
        "line 2: other.md#five: no such heading",
    ]
    lines = refused(page)
    assert [line.split(":")[0] + line.split(":")[1] for line in lines] == [
        "line 6 train.py", "line 7 demo.py", "line 8 train_DDP.py", "line 11 tools/serve.py",
        "line 12 tools/reproduce.py", "line 14 prepare.py", "line 14 gone.py",
    ]  # fmt: skip
    for line, words in zip(
        lines,
        (
            "exclude each other",
            "--top",
            "--no_such_flag",
            "--hots",
            "--optimiser",
            "exclude",
            "no such script",
        ),
        strict=True,
    ):
        assert words in line


def all_flags():
    """The flags of all scripts and of their commands."""

    class Found(Exception):
        pass

    def stop(parser, *_, **__):
        raise Found(parser)

    found = set()
    for path in SCRIPTS:
        with patch.multiple(argparse.ArgumentParser, parse_args=stop, parse_known_args=stop):
            try:
                script(path).main([])
            except Found as stopped:
                found |= flags_of(stopped.args[0])
    return found


def flags_of(parser):
    """The flags of a parser and of those of its commands."""
    found = {flag for action in parser._actions for flag in action.option_strings}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found |= {flag for command in action.choices.values() for flag in flags_of(command)}
    return found


def test_every_flag_in_running_text_is_there():
    """A flag may be shortened, as on the command line.

    Pages for those who come from elsewhere also name theirs.
    """
    known, missing = all_flags(), list[str]()
    for path in PAGES:
        text = prose(read(path))
        if path.name.startswith("coming-from-"):
            text = re.sub(r"^\|[^|\n]*\|", "|", text, flags=re.M)  # the first column is theirs
        for match in INLINE.finditer(text):
            for flag in re.findall(r"(?<![\w-])--[\w-]+", match[1]):
                if not any(name.startswith(flag) for name in known):
                    missing.append(f"{path.name}: line {line_of(text, match.start())}: {flag}")
    assert missing == []


def test_who_comes_from_the_baseline_is_told_every_new_flag():
    """The page need not repeat the network's flags of train.py that test.py takes.

    They are for a bare weight file, and the page names them as a whole.
    """
    page = read(ROOT / "docs" / "coming-from-the-baseline.md")
    train, test = (
        flags_of(parser()) - {f"--{name}" for name in PUBLISHED[script].split()}
        for script, parser in (
            ("train.py", partial(build, TrainConfig)),
            ("test.py", partial(build, TestConfig)),
        )
    )
    new = (
        (train | test) - {"-h", "--help"} - {f"--{name}" for name in PUBLISHED["train.py"].split()}
    )
    assert {flag for flag in new if not re.search(rf"{flag}(?!\w)", page)} == set()

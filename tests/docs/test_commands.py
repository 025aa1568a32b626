"""The commands of the pages: which a test runs, which one only reads, and which none can.

python -m tests.docs.test_commands counts them, and lists those that no test runs.
"""

import ast
import importlib
import re
from collections import Counter
from urllib.parse import parse_qs, urlparse

import pytest

import person_reid
from person_reid.serve.operations import ALL_OPERATIONS
from tests.docs.test_pages import FURTHER
from tests.support import ROOT
from tests.support.pages import PAGES, blocks, commands, in_block, parts, shell_lines
from tests.support.scripts import run

# The changelog speaks of commands of its time.
READ = [*PAGES, *(path for path in FURTHER if path.name != "CHANGELOG.md")]
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
# The first commands of the README, with fewer people and one epoch.
README = blocks((ROOT / "README.md").read_text(encoding="utf-8"))
FIRST = in_block(next(block for block in README if "--synthetic" in block.text))
FEWEST = "--identities 8 --test_identities 5 --cameras 4 --images 2 --distractors 9 --junk 5"
SMALLER = {"prepare.py": FEWEST, "train.py": "--total_epoch 1 --warm_epoch 0 --batchsize 32"}
ELSEWHERE = {  # lines of a shell that nothing here can run or read
    r"git clone .*": "the address of the repository",
    r"(python3|py) -m venv .*|source .*|\.venv\\.*": "makes an environment for the reader",
    r"python -m pip wheel .*": "builds packages for a machine without internet",
    r"docker run .*|export PGPASSWORD=\w+": "starts a database for the reader",
}


def run_by_a_test(path, command):
    """Return the test that runs a command of a page, or None."""
    page = path.relative_to(ROOT).as_posix()
    if page == "README.md" and command in FIRST:
        return "test_commands.py"
    if page == "docs/tutorial.md" and command in run_in_blocks(path.read_text(encoding="utf-8")):
        return "test_tutorial.py"
    if page in ("docs/search.md", "docs/gallery.md") and command.script == "tools/search.py":
        return "test_search_page.py"
    return "test_extending.py" if page == "docs/extending.md" else None


def run_in_blocks(text):
    """Return the commands in the blocks of a page that are not marked `not run`."""
    run = [block for block in blocks(text) if not block.remark.startswith("not run: ")]
    return [command for block in run if block.language == "bash" for command in in_block(block)]


def fault(line):
    """Return what is wrong with a line of a shell that is not a command of ours, or None."""
    words = line.partition(" #")[0].split()
    if words[0] == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M)
        return None if words[1] in targets else f"no target {words[1]}"
    if " -m pip install" in line:
        return not_installable(line.partition(" install ")[2].partition(" #")[0])
    if words[0] == "curl":
        return no_operation(line)
    return None if any(re.fullmatch(pattern, line) for pattern in ELSEWHERE) else "nothing reads it"


def not_installable(words):
    """Return the requirements of a command that this project does not name or have, or None.

    Its own name belongs to nobody on a package index: whoever took it would run code on machines.
    """
    own = re.search(r"(?<![\w/])person-reid(?!\w|\[[\w,]*\] @ | @ )", words)
    if own and "--no-index" not in words:
        return "person-reid"
    missing = [
        extra
        for extras in re.findall(r"\[([\w,]+)\]", words)
        for extra in extras.split(",")
        if not re.search(rf"^{extra} = \[", PROJECT, re.M)
    ]
    missing += [file for file in re.findall(r"-r (\S+)", words) if not (ROOT / file).is_file()]
    for name in re.findall(r"(?<![\S/])[a-z][\w-]+(?![\w./:\[])", words):
        if not re.search(rf'"{name.replace("_", "[-_]")}\b', PROJECT):
            missing.append(name)
    return ", ".join(missing) or None


def no_operation(line):
    """Return what the service does not know of a request by curl, or None."""
    address = urlparse(re.search(r'"(http.+?)"', line)[1])
    method = "POST" if " -F " in line else "GET"
    found = [each for each in ALL_OPERATIONS if (each.method, each.path) == (method, address.path)]
    if not found:
        return f"no operation {method} {address.path}"
    unknown = {*parse_qs(address.query)} - {*found[0].takes}
    return f"no parameter {unknown}" if unknown else None


def shells(path):
    """Return (number, text) of the lines of a page that are for a shell."""
    found = blocks(path.read_text(encoding="utf-8"))
    return [line for block in found if block.language == "bash" for line in shell_lines(block)]


@pytest.mark.parametrize("path", READ, ids=lambda path: path.name)
def test_every_line_of_a_shell_is_one_that_can_be_read(path):
    others = [(number, line) for number, line in shells(path) if not parts(line, number)]
    assert [(number, line) for number, line in others if fault(line)] == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("make tests", "no target"),
        ("python -m pip install --upgrade person-reid", "person-reid"),
        ('python -m pip install "person-reid[video]"', "person-reid"),
        ('python -m pip install ".[sevre]"', "sevre"),
        ("python -m pip install -r requirement.txt", "requirement.txt"),
        ("python -m pip install torch onxruntime", "onxruntime"),
        ('curl -F image=@a.jpg "http://127.0.0.1:8000/v1/serch"', "no operation POST /v1/serch"),
        ('curl "http://127.0.0.1:8000/v1/images?kamera=1"', "no parameter {'kamera'}"),
        ("sudo rm -r build", "nothing reads it"),
    ],
)
def test_a_line_that_cannot_work_is_noticed(line, found):
    assert found in fault(line)


def test_no_message_installs_a_package_of_our_name():
    for path in [*ROOT.glob("person_reid/**/*.py"), *ROOT.glob("tools/*.py")]:
        for words in re.findall(r"pip install ([^`\n]*)", path.read_text(encoding="utf-8")):
            assert "person-reid" not in words, path


@pytest.mark.slow
def test_the_first_commands_of_the_readme_run(here):
    (here / "recipes").symlink_to(ROOT / "recipes")
    for command in FIRST:
        fewer = SMALLER.get(command.script, "").split()
        run(command.script.removesuffix(".py"), *command.arguments, *fewer, cwd=here)
    assert (here / "show.png").is_file()
    assert len(FIRST) == 4


@pytest.mark.parametrize("path", READ, ids=lambda path: path.name)
def test_what_the_python_of_a_page_imports_is_there(path):
    for block in blocks(path.read_text(encoding="utf-8")):
        if block.language != "python":
            continue
        entry = block.text.strip().startswith('"')  # of a table, in CONTRIBUTING.md
        for node in ast.walk(ast.parse(f"{{{block.text.strip()}}}" if entry else block.text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("person_reid"):
                module = importlib.import_module(str(node.module))
                assert [name.name for name in node.names if not hasattr(module, name.name)] == []
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert node.value.id not in ("person_reid", "reid") or hasattr(
                    person_reid, node.attr
                ), f"line {block.line + node.lineno - 1}"


def main():
    """Print the counts, and what no test runs."""
    counts: Counter[str] = Counter()
    for path in READ:
        text = path.read_text(encoding="utf-8")
        for command in commands(text):
            test = run_by_a_test(path, command)
            counts[f"run by {test}" if test else "read by test_pages.py"] += 1
            if not test:
                words = " ".join([command.script, *command.arguments])
                print(f"{path.name}:{command.line}: {words}")
        for number, line in shells(path):
            if not parts(line, number):
                reasons = [why for pattern, why in ELSEWHERE.items() if re.fullmatch(pattern, line)]
                reason = " ".join(reasons) or "read by test_commands.py"
                counts[reason] += 1
                print(f"{path.name}:{number}: {line} ({reason})")
    print(*(f"{number:5} {what}" for what, number in counts.most_common()), sep="\n")


if __name__ == "__main__":
    main()

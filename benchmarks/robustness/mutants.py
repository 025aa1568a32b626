# PYTHON_ARGCOMPLETE_OK
"""Change the code at random places, one at a time, and count the changes that no test notices.

    python benchmarks/robustness/mutants.py --number 400 --seed 1
    python benchmarks/robustness/mutants.py --number 40 --seed 1 --parts models "single modules"
    python benchmarks/robustness/mutants.py --table
    python benchmarks/robustness/mutants.py --again tests/video/test_tracker.py

The folder `mutants` holds a copy of the last commit, map.jsonl and results.jsonl. A run that was
interrupted goes on. The map says which tests execute a line (`pip install coverage`). Those run,
quickest file first, until one fails or their seconds are spent. Each line of code is as likely as
another to be changed, so that each part of the code has its share. Texts stay: no test should
repeat a message.

Read each change that survives: write a test that fails for it, and show that it does with --again,
or add a line to results.jsonl that says why nobody could notice: {"id": ..., "equivalent": reason}.
POSIX only.
"""

import ast
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from datetime import date
from importlib.util import find_spec
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.support.parser import Parser, positive
from person_reid.console import run_script
from person_reid.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
# mutmut 3 puts a dispatcher in the place of each function, which changes signatures, what
# torch.compile sees and what scripts in processes of their own run, and knows no random sample.
# Cosmic Ray runs one command for every change: here, that is seven minutes.

CODE = ["person_reid/**/*.py", "losses/*.py", "tools/*.py", "*.py"]
# These tests read the source text, build packages, or check pages.
LEFT_OUT = re.compile("^tests/(docs/|test_(style|names|architecture|wheel|gpu)|deploy/test_cli)")
CONTEXT = 3  # lines around a change by which it is found again in newer code
BATCH = 5.0  # seconds of tests for which one more child is worth its start
SWAPPED = {
    ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="), ast.NotEq: ("!=", "=="), ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"), ast.Is: ("is", "is not"), ast.IsNot: ("is not", "is"),
    ast.And: ("and", "or"), ast.Or: ("or", "and"), ast.Add: ("+", "-"), ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"), ast.Div: ("/", "*"), ast.FloorDiv: ("//", "*"), ast.Mod: ("%", "*"),
    ast.Pow: ("**", "*"), ast.BitAnd: ("&", "|"), ast.BitOr: ("|", "&"),
}  # fmt: skip
PASSED = (0, 5)  # pytest's status, also if every test is skipped
FAULT = 70  # the status of a child whose own code failed
OTHER_NAME = {"min": "max", "max": "min", "any": "all", "all": "any"}
Position = tuple[int, int]  # line from 1, column in bytes


@dataclass(frozen=True)
class Change:
    """A text in the place of another. lines: those whose execution runs it, first and last."""

    kind: str
    start: Position
    end: Position
    new: str
    lines: tuple[int, int]


def main(argv=None):
    """Make the copy and the map, change and test, and print the scores."""
    parser = Parser(__doc__)
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("mutants"),
        help="folder of the copy, the map and the results",
    )
    parser.add_argument("--number", type=positive(int), default=400, help="number of changes")
    parser.add_argument("--seed", type=int, default=0, help="chooses the changes")
    parser.add_argument(
        "--parts", nargs="+", default=[], help="change these alone, named as in the table"
    )
    parser.add_argument(
        "--seconds", type=positive(float), default=120.0, help="seconds of tests for one change"
    )
    parser.add_argument(
        "--table", action="store_true", help="print the scores of the results alone"
    )
    parser.add_argument(
        "--again", nargs="+", metavar="TEST", help="run these on the survivors, in the last commit"
    )
    options = parser.parse_args(argv)
    folder = options.folder.resolve()
    results = folder / "results.jsonl"
    if options.again:
        again(results, options.again)
    elif not options.table:
        if not (folder / "tree").exists():
            copy_commit(folder / "tree")
        with Tests(folder / "tree") as tests:
            chosen = choose(folder / "tree", options.number, options.seed, options.parts)
            line_map = read_map(folder / "map.jsonl", tests)
            done = read_results(results)
            for number, (path, change) in enumerate(chosen):
                if name(path, change) not in done:
                    test_change(tests, path, change, line_map, options.seconds, results)
                print(f"\r{number + 1} of {len(chosen)}", end="", file=sys.stderr, flush=True)
    print(table(read_results(results)))


def copy_commit(tree):
    """Unpack the last commit, with compiled modules, which each child would compile otherwise."""
    tree.parent.mkdir(parents=True, exist_ok=True)
    half = tree.with_name("half")
    shutil.rmtree(half, ignore_errors=True)
    archive = half.with_suffix(".tar")
    subprocess.run(["git", "archive", "--output", archive, "HEAD"], cwd=ROOT, check=True)
    shutil.unpack_archive(archive, half)
    archive.unlink()
    subprocess.run([sys.executable, "-m", "compileall", "-q", "person_reid"], cwd=half, check=False)
    half.rename(tree)


class Tests:
    """A process of forked_tests.py in a copy of the repository."""

    def __init__(self, tree):
        self.tree = tree
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        environment["PYTHONPATH"] = os.pathsep.join(
            filter(None, [str(tree), os.environ.get("PYTHONPATH")])
        )
        self.process: Any = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.robustness.forked_tests"],
            cwd=tree, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()

    def ask(self, question):
        """Return the answer to a question, as forked_tests.py describes both."""
        print(json.dumps(question), file=self.process.stdin, flush=True)
        if answer := self.process.stdout.readline():
            return json.loads(answer)
        raise UserError("the process of the tests has ended; what it said stands above")


# --- changes


def choose(tree, number, seed, parts=()):
    """[(path, Change)] at random lines; the first of them are the same for every number.

    parts: those of the code that may be chosen, as part_of names them; without any, all of it.
    """
    places = defaultdict(list)
    sources = {}
    for path in sorted({path for pattern in CODE for path in tree.glob(pattern)}):
        short = path.relative_to(tree).as_posix()
        if parts and part_of(short) not in parts:
            continue
        sources[short] = path.read_text(encoding="utf-8")
        for change in changes(sources[short]):
            places[short, change.start[0]].append(change)
    lines = list(places)
    drawn = random.Random(seed)
    drawn.shuffle(lines)
    chosen = []
    for path, line in lines:
        drawn.shuffle(found := places[path, line])
        chosen += [(path, change) for change in found if means_another(sources[path], change)][:1]
        if len(chosen) == number:
            break
    return chosen


def changes(source):
    """Every Change of a source, also those that leave no Python."""
    for node, lines in statements(ast.parse(source), None):
        yield from changes_of(node, source, lines)


def means_another(source, change):
    """Whether a change leaves Python; a keyword left out may take a parenthesis with it."""
    try:
        return ast.dump(ast.parse(changed(source, change))) != ast.dump(ast.parse(source))
    except SyntaxError:
        return False


def statements(node, lines):
    """(node, first and last line of its statement); no annotation, decorator or f-string."""
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "type_comment"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or isinstance(
                child, ast.JoinedStr | ast.Import | ast.ImportFrom
            ):
                continue
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                continue
            own = lines
            if isinstance(child, ast.stmt):
                body = getattr(child, "body", None)
                own = (
                    child.lineno,
                    max(child.lineno, body[0].lineno - 1) if body else child.end_lineno,
                )
            yield child, own
            yield from statements(child, own)


def changes_of(node, source, lines):
    """Every Change of a node, whether or not it makes sense."""

    def whole(kind, part, new):
        return Change(kind, first(part), last(part), new, lines)

    def between(kind, left, right, old, new):
        gap = cut(source, last(left), first(right))
        pattern = rf"\b{old}\b" if old.isalpha() else rf"(?<![=!<>*/]){re.escape(old)}(?![=*/])"
        if len(re.findall(pattern, gap)) == 1:
            yield Change(kind, last(left), first(right), re.sub(pattern, new, gap), lines)

    match node:
        case ast.Compare(ops=[operator]):
            swapped = SWAPPED[type(operator)]
            yield from between("comparison", node.left, node.comparators[0], *swapped)
        case ast.BoolOp():
            for left, right in pairwise(node.values):
                yield from between("and, or", left, right, *SWAPPED[type(node.op)])
        case ast.BinOp(op=operator, left=left, right=right) if type(operator) in SWAPPED:
            if not (is_text(left) or is_text(right)):
                yield from between("arithmetic", left, right, *SWAPPED[type(operator)])
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            gap = re.sub(r"^(not\s*|-)", "", cut(source, first(node), first(node.operand)))
            yield Change("sign, not", first(node), first(node.operand), gap, lines)
        case ast.Return(value=ast.expr()):
            yield whole("return", node.value, "None")
        case ast.Raise() | ast.AugAssign() | ast.Delete() | ast.Expr(value=ast.Call()):
            yield whole("statement", node, "pass")
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield whole("statement", node, "pass")
        case ast.Continue():
            yield whole("loop", node, "break")
        case ast.Break():
            yield whole("loop", node, "pass")
        case ast.Constant(value=bool() as value):
            yield whole("constant", node, str(not value))
        case ast.Constant(value=int() as value):
            yield whole("constant", node, str(value + 1))
        case ast.Constant(value=float() as value):
            yield whole("constant", node, repr(2 * value or 1.0))
        case ast.If() | ast.IfExp():
            yield whole("condition", node.test, "True")
            yield whole("condition", node.test, "False")
        case ast.comprehension():
            yield from (whole("condition", test, "True") for test in node.ifs)
        case ast.Call():
            if isinstance(node.func, ast.Name) and node.func.id in OTHER_NAME:
                yield whole("name", node.func, OTHER_NAME[node.func.id])
            given = [*node.args, *node.keywords]
            for before, word in pairwise(given):
                if isinstance(word, ast.keyword):
                    yield Change("argument", last(before), last(word), "", lines)
            if len(given) == 1 and node.keywords:
                yield whole("argument", given[0], "")


def first(node: Any) -> Position:
    """Where a node begins."""
    return node.lineno, node.col_offset


def last(node: Any) -> Position:
    """Where a node ends."""
    return node.end_lineno, node.end_col_offset


def is_text(node):
    """Whether a node is a text or a list, which nothing but + serves."""
    return isinstance(node, ast.JoinedStr | ast.List | ast.Tuple | ast.ListComp) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def offset(source, position):
    """Where a position of ast stands in the bytes of a source."""
    lines = source.encode().split(b"\n")
    return sum(len(line) + 1 for line in lines[: position[0] - 1]) + position[1]


def cut(source, start, end):
    """Return the part of a source between two positions."""
    return source.encode()[offset(source, start) : offset(source, end)].decode()


def changed(source, change):
    """Return the source with a change."""
    data = source.encode()
    start, end = offset(source, change.start), offset(source, change.end)
    return (data[:start] + change.new.encode() + data[end:]).decode()


def name(path, change):
    """Return what the results call a change."""
    return f"{path}:{change.start[0]}:{change.start[1]} {change.kind} {change.new}".strip()


def hunk(source, change):
    """(text before, text after): the lines of a change with those around it."""
    lines, after = source.split("\n"), changed(source, change).split("\n")
    first = max(0, change.start[0] - 1 - CONTEXT)
    last = change.end[0] + CONTEXT
    return "\n".join(lines[first:last]), "\n".join(after[first : last + len(after) - len(lines)])


# --- tests


class LineMap(NamedTuple):
    """Which tests execute a line.

    executed: {path: {test, or file for its fixtures: a bit for each line}}. seconds: {test: its
    time}. texts: {file of tests: its source}.
    """

    executed: dict[str, dict[str, int]]
    seconds: dict[str, float]
    texts: dict[str, str]


def read_map(file, tests):
    """Return the LineMap, after making what is missing of it."""
    files = sorted(
        path.relative_to(tests.tree).as_posix() for path in tests.tree.glob("tests/**/test_*.py")
    )
    known = read_lines(file)
    for missing in sorted(set(files) - {entry["file"] for entry in known}):
        if not LEFT_OUT.search(missing):
            if not find_spec("coverage"):
                raise UserError("the map needs coverage.py: python -m pip install coverage")
            known.append({**tests.ask({"map": missing}), "file": missing})
            append(file, known[-1])
    executed: dict[str, dict[str, int]] = defaultdict(dict)
    seconds: dict[str, float] = {}
    for entry in known:
        seconds |= entry.get("tests", {})
        for path, contexts in entry.get("lines", {}).items():
            for context, lines in contexts.items():
                executed[path][context] = sum(1 << line for line in lines)
    texts = {name: (tests.tree / name).read_text(encoding="utf-8") for name in files}
    return LineMap(executed, seconds, texts)


def tests_of(path, change, source, known):
    """[(seconds, tests of a file)] that execute a change, quickest first.

    A line that runs when a module is imported concerns the tests that execute a function of the
    module, and the files that name it.
    """
    inside: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            body = node.body if isinstance(node.body, list) else [node.body]
            inside |= {*range(body[0].lineno, last(node)[0] + 1)}
    begun, ended = change.lines
    lines = {*range(begun, ended + 1)} if begun in inside else inside
    mask = sum(1 << line for line in lines)
    chosen = {context for context, bits in known.executed[path].items() if bits & mask}
    if lines is inside:
        package, _, module = path.removesuffix(".py").replace("/", ".").rpartition(".")
        named = rf"\b{package}(\.| import .*\b){module}\b" if package else rf"import {module}\b"
        chosen |= {file for file, text in known.texts.items() if re.search(named, text)}
    files = defaultdict(list)
    for test in known.seconds:
        file = test.partition("::")[0]
        if test in chosen or file in chosen:
            files[file].append(test)
    return sorted((sum(known.seconds[test] for test in few), few) for few in files.values())


def test_change(tests, path, change, known, limit, results):
    """Write a change into the copy, run the tests that execute it, and take it back."""
    file = tests.tree / path
    source = file.read_text(encoding="utf-8")
    before, after = hunk(source, change)
    found = tests_of(path, change, source, known)
    record = {
        "id": name(path, change),
        "before": before,
        "after": after,
        "tests": sum(len(few) for _, few in found),
    }
    times = file.stat()
    try:
        file.write_text(changed(source, change), encoding="utf-8")
        # No other state of the file has this time, by which Python knows compiled modules.
        os.utime(
            file, ns=(times.st_atime_ns, times.st_mtime_ns - 10**9 * (1 + len(read_lines(results))))
        )
        append(results, {**record, **run_tests(tests, found, limit)})
    finally:
        file.write_text(source, encoding="utf-8")
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def run_tests(tests, found, limit):
    """Run files of tests until one fails or the seconds are spent."""
    sums = accumulate(seconds for seconds, _ in found)
    within = [each for each, spent in zip(found, sums, strict=True) if spent <= limit] or found[:1]
    ran = 0
    batch: list[str] = []
    took = 0.0
    for number, (seconds, few) in enumerate(within, 1):
        batch += few
        took += seconds
        if took > BATCH or number == len(within):
            answer = tests.ask({"tests": batch, "seconds": 10 * took + 60})
            ran += len(batch)
            ended = answer.get("ended", answer.get("status"))
            if ended == FAULT:
                raise UserError(f"a child of forked_tests.py failed: {answer['said']}")
            if ended not in PASSED:  # None and negative numbers: it hung, or a signal ended it
                return {"killed": answer.get("failed") or f"status {ended}", "ran": ran}
            batch, took = [], 0.0
    return {"survived": True, "ran": ran}


def again(results, tests):
    """Run tests on the survivors, and write down those that they notice."""
    survivors = [record for record in read_results(results).values() if "survived" in record]
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        copy_commit(tree)
        for record in survivors:
            file = tree / record["id"].partition(":")[0]
            source = file.read_text(encoding="utf-8")
            if source.count(record["before"]) != 1:
                print(f"{record['id']}: this code has changed")
                continue
            file.write_text(source.replace(record["before"], record["after"]), encoding="utf-8")
            command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:randomly", *tests]
            done = subprocess.run(command, cwd=tree, capture_output=True, text=True)
            file.write_text(source, encoding="utf-8")
            if failed := re.search(r"^(FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE):
                append(results, {"id": record["id"], "now": failed[2]})
                print(f"{record['id']}: {failed[2]}")


# --- results


def read_lines(file):
    """Return the entries of a file of JSON lines; none if it is missing."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def append(file, entry):
    """Add an entry to a file of JSON lines."""
    with file.open("a") as out:
        out.write(json.dumps(entry) + "\n")


def read_results(file):
    """{id: all that the lines of results.jsonl say about a change}."""
    found: dict[str, dict] = defaultdict(dict)
    for entry in read_lines(file):
        found[entry["id"]] |= entry
    return found


def part_of(path):
    """The folder of the library or of the scripts that holds a module."""
    parts = Path(path.partition(":")[0]).parts
    if parts[0] == "person_reid":
        return parts[1] if len(parts) > 2 else "single modules"
    return parts[0] if len(parts) > 1 else "scripts"


def table(results):
    """Return the scores of each part of the code, as rows of Markdown."""
    parts = defaultdict(list)
    for record in results.values():
        parts[part_of(record["id"])].append(record)
        parts["all"].append(record)
    rows = ["| code | changes | equivalent | noticed | now noticed | share then | share now |"]
    rows.append("| --- | --- | --- | --- | --- | --- | --- |")
    for place, records in sorted(parts.items(), key=lambda item: (item[0] == "all", item[0])):
        equivalent = sum("equivalent" in record for record in records)
        then = sum("killed" in record for record in records)
        now = then + sum("now" in record and "killed" not in record for record in records)
        real = (len(records) - equivalent) or 1
        shares = f"{then / real:.0%} | {now / real:.0%}"
        rows.append(f"| {place} | {len(records)} | {equivalent} | {then} | {now} | {shares} |")
    return "\n".join([*rows, "", f"{date.today()}"])


if __name__ == "__main__":
    run_script(main)

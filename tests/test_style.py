"""The layout of the code, as far as neither the formatter nor a rule of ruff sees it."""

import ast
import re
from itertools import pairwise

import pytest

from tests.support import ROOT

FOLDERS = ("benchmarks", "losses", "person_reid", "tests", "tools")
FILES = sorted(
    [*ROOT.glob("*.py"), *(file for name in FOLDERS for file in (ROOT / name).rglob("*.py"))]
)
FULL_LINE = 92  # columns; a line that would be longer with one more word is full
AT_A_CLAUSE = re.compile(r'([.,;:?!)}|]|\\n) *"$')
JOINTS = "and|as|at|but|by|for|from|if|in|of|on|or|so|that|to|with"
WITHIN_A_CLAUSE = re.compile(rf'f?"( ?(?!(?:{JOINTS})\b)[a-z]+ ?)')
PACKED = re.compile(r" *[\w.]+(, [\w.]+)+ = ")


def broken_strings(source):
    """Yield the number of each line whose text breaks within a clause for no lack of room."""
    lines = source.splitlines()
    for number, (line, following) in enumerate(pairwise(lines), 1):
        word = WITHIN_A_CLAUSE.match(following.strip())
        ends = re.search(r'(?<!")"$', line) and not AT_A_CLAUSE.search(line)
        if word and ends and len(line) + len(word[1]) <= FULL_LINE:
            yield number


def packed_assignments(source):
    """Yield the number of each line that packs three values, or two on several lines."""
    lines = source.splitlines()
    for number, line in enumerate(lines, 1):
        if PACKED.match(line):
            statement = statement_at(lines[number - 1 : number + 20])
            values = statement.value.elts if isinstance(statement.value, ast.Tuple) else ()
            if len(values) > 2 or (values and statement.end_lineno > 1):
                yield number


def statement_at(lines):
    """The statement that begins with the first of these lines."""
    for end in range(1, len(lines) + 1):
        try:
            return ast.parse("\n".join(lines[:end]).strip()).body[0]
        except SyntaxError:
            continue
    raise ValueError(lines[0])


def found(check):
    return [
        f"{file.relative_to(ROOT)}:{number}"
        for file in FILES
        for number in check(file.read_text(encoding="utf-8"))
    ]


def test_texts_break_where_a_clause_does():
    assert found(broken_strings) == []


def test_an_assignment_packs_at_most_two_values():
    assert found(packed_assignments) == []


@pytest.mark.parametrize(
    ("check", "source"),
    [
        (broken_strings, 'text = (\n    "a folder "\n    "without images"\n)'),
        (packed_assignments, "first, second, third = 1, 2, 3"),
        (packed_assignments, "first, second = (\n    1,\n    2,\n)"),
    ],
)
def test_a_fault_of_layout_is_found(check, source):
    assert len([*check(source)]) == 1


@pytest.mark.parametrize(
    ("check", "source"),
    [
        (broken_strings, 'text = (\n    "a folder, "\n    "without images"\n)'),
        (broken_strings, 'words = [\n    "folder",\n    "images",\n]'),
        (packed_assignments, "first, second = 1, 2"),
        (packed_assignments, "first, second, third = values"),
    ],
)
def test_a_good_layout_is_let_through(check, source):
    assert [*check(source)] == []


@pytest.mark.parametrize(
    "script",
    [
        file
        for file in FILES
        if file.parent in (ROOT, ROOT / "tools") and "\ndef main(" in file.read_text("utf-8")
    ],
    ids=lambda file: file.name,
)
def test_a_script_runs_its_main(script):
    program = r'(?m)^if __name__ == "__main__":.*\n    run_script\((main|lambda: .*)\)$'
    assert re.search(program, script.read_text("utf-8"))

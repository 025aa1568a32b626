"""benchmarks/robustness/mutants.py changes one place, and counts what tests notice."""

import ast
import json

import pytest

from benchmarks.robustness import mutants

SOURCE = '''"""Text — with a dash."""

LIMIT = 3


def least(values: "list[int] | None" = None, *, strict=(False)):
    """Return 1 of 2."""
    if values and (len(values)) < (LIMIT):
        raise ValueError(f"é {len(values) + 1}")
    total = sum(values, start=0)  # - a comment
    return min(total - 1, -LIMIT)
'''


def made(kind):
    """The lines of SOURCE that changes of a kind leave."""
    before = SOURCE.split("\n")
    found = [mutants.changed(SOURCE, each) for each in mutants.changes(SOURCE) if each.kind == kind]
    return [
        line.strip()
        for after in found
        for line, old in zip(after.split("\n"), before, strict=True)
        if line != old
    ]


@pytest.mark.parametrize(
    ("kind", "lines"),
    [
        ("comparison", ["if values and (len(values)) <= (LIMIT):"]),
        ("and, or", ["if values or (len(values)) < (LIMIT):"]),
        ("condition", ["if True:", "if False:"]),
        ("statement", ["pass"]),
        ("return", ["return None"]),
        ("arithmetic", ["return min(total + 1, -LIMIT)"]),
        ("sign, not", ["return min(total - 1, LIMIT)"]),
        ("name", ["return max(total - 1, -LIMIT)"]),
        ("argument", ["total = sum(values)  # - a comment"]),
        (
            "constant",
            [
                "LIMIT = 4",
                'def least(values: "list[int] | None" = None, *, strict=(True)):',
                "total = sum(values, start=1)  # - a comment",
                "return min(total - 2, -LIMIT)",
            ],
        ),
    ],
)
def test_each_change_is_one_place_of_the_text(kind, lines):
    """Docstrings, annotations and what f-strings hold stay; so do comments."""
    assert made(kind) == lines


def test_a_change_that_leaves_no_python_is_not_chosen(tmp_path):
    source = "print(sorted(([2, 1]), reverse=True))\n"
    (tmp_path / "a.py").write_text(source)
    left = {mutants.changed(source, change) for change in mutants.changes(source)}
    assert "print(sorted(([2, 1]))\n" in left
    for seed in range(20):
        [(path, change)] = mutants.choose(tmp_path, 5, seed)
        assert path == "a.py"
        ast.parse(mutants.changed(source, change))


def test_parts_of_the_code_are_chosen_by_name(tmp_path):
    places = ["person_reid/models/a.py", "person_reid/a.py", "train.py"]
    for place in places:
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text(SOURCE)
    for parts, expected in [(["models", "single modules"], places[:2]), ([], places)]:
        chosen = mutants.choose(tmp_path, 100, 0, parts)
        assert {path for path, _ in chosen} == {*expected}


def test_what_runs_at_import_concerns_every_test_of_the_module():
    executed = {
        "a.py": {"tests/b.py::one": 1 << 9, "tests/c.py": 1 << 11, "tests/d.py::two": 1 << 3}
    }
    seconds = {"tests/b.py::one": 2.0, "tests/c.py::fixed": 1.0, "tests/d.py::two": 0.5}
    seconds["tests/e.py::three"] = 0.1

    def chosen(line):
        change = next(each for each in mutants.changes(SOURCE) if each.start[0] == line)
        texts = {"tests/e.py": "import a\n", "tests/b.py": "import ab\n"}
        return mutants.tests_of("a.py", change, SOURCE, mutants.LineMap(executed, seconds, texts))

    assert chosen(10) == []
    assert chosen(11) == [(1.0, ["tests/c.py::fixed"])]
    assert chosen(3) == [
        (0.1, ["tests/e.py::three"]),
        (1.0, ["tests/c.py::fixed"]),
        (2.0, ["tests/b.py::one"]),
    ]


def test_scores_count_what_is_noticed_among_what_could_be(tmp_path):
    first, second, third = (f"person_reid/losses/a.py:{line}:0 return None" for line in (1, 2, 3))
    lines = [{"id": first, "killed": "x"}, {"id": second, "survived": True}]
    lines += [{"id": third, "survived": True}, {"id": third, "equivalent": "the same"}]
    lines += [
        {"id": second, "now": "tests/a.py::b"},
        {"id": "train.py:5:0 loop break", "survived": True},
    ]
    for line in lines:
        mutants.append(tmp_path / "results.jsonl", line)
    rows = mutants.table(mutants.read_results(tmp_path / "results.jsonl")).splitlines()
    assert rows[2] == "| losses | 3 | 1 | 1 | 2 | 50% | 100% |"
    assert rows[3] == "| scripts | 1 | 0 | 0 | 0 | 0% | 0% |"
    assert json.loads((tmp_path / "results.jsonl").read_text().splitlines()[0]) == lines[0]

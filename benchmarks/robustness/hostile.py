# PYTHON_ARGCOMPLETE_OK
"""Give every command nonsense, and count how it ends.

    python benchmarks/robustness/hostile.py               # all cases: twenty minutes on two cores
    python benchmarks/robustness/hostile.py --cases 200 --seed 1 --save failures.txt
    python benchmarks/robustness/hostile.py --kinds odd table  # only the kinds that are called so

The cases are nonsense for every flag that the parsers declare, by its type; outputs that would
replace an input; files with random damage; two processes at once; and disks that fill up. cases.py
adds tables, options files and folders as other people and programs leave them. track_cases.py adds
pipes and devices in the place of files, track files, and records of somebody else.
python_cases.py adds calls from Python.

A case fails if the command
- prints a traceback or is killed by a signal,
- takes more than 30 seconds (120 for reproduce.py, which trains and tests),
- leaves a partial file, or should have refused but changed an input,
- ends with another status than 0, 1 or 2, or with 1 or 2 and no line that says why,
- ends with 0 although the value cannot be meant, or otherwise than cases.py says.

Prints a table and each failure; the status is 1 if there is any. POSIX only.
"""

import multiprocessing
import os
import random
import re
import shutil
import sys
import tempfile
from contextlib import suppress
from functools import partial
from pathlib import Path
from unittest.mock import patch

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.robustness.cases import Case, unread, written_down
from benchmarks.robustness.children import Outcome, start, wait
from benchmarks.robustness.python_cases import cases_of_python
from benchmarks.robustness.track_cases import cases_of_tracks
from benchmarks.robustness.workspace import READ, WORKING, make_workspace
from benchmarks.support.parser import Parser
from benchmarks.support.scripts import module_of
from person_reid import console
from person_reid.console import run_script
from person_reid.console.commands import COMMANDS
from person_reid.errors import UserError
from person_reid.progress import progress

NUMBERS = [
    "nan",
    "inf",
    "-inf",
    "-1",
    "0",
    "1e308",
    "-1e308",
    "9" * 26,
    "0.5.5",
    "abc",
    "1,2",
    "0x10",
    "1e-300",
]
TEXTS = ["../..", "none/../precious", "/dev/full", "/proc/self/mem", "."]
TEXTS += ["'; exit 3", "$(exit 3)", "x" * 5000, "a\nb", "%s", "\udce9"]
NEVER = {
    "int": {"nan", "inf", "-inf", "0.5.5", "abc", "9" * 26},
    "float": {"nan", "inf", "-inf", "0.5.5", "abc"},
}
OUTPUTS = {"--json", "--output", "--save", "--save_per_query", "--sheet"}
PATIENCE = 30.0  # seconds
PRECIOUS = "precious/thesis.txt"  # which no command may change
VALUES_OF = {"int": "whole numbers", "float": "numbers", "Path": "paths", "some_path": "paths"}


CASES: list[Case] = []  # the processes that run them inherit it


def main(argv=None):
    """Make the workspace, run the cases, print the table."""
    parser = Parser(__doc__)
    parser.add_argument("--cases", type=int, default=2000, help="how many cases to draw at random")
    parser.add_argument(
        "--commands",
        nargs="+",
        choices=WORKING,
        metavar="NAME",
        help="only these commands of benchmarks/robustness/workspace.py",
    )
    parser.add_argument(
        "--kinds", nargs="+", metavar="WORDS", help="only these of the kinds that the table names"
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed draws other cases")
    parser.add_argument("--save", type=Path, help="file for the output of the cases that fail")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        workspace = Path(name) / "workspace"
        make_workspace(workspace)
        cases = draw(options.cases, options.commands or WORKING, random.Random(options.seed))
        cases = [
            case
            for case in cases
            if not options.kinds or any(kind in case.kind for kind in options.kinds)
        ]
        CASES.extend(cases)
        with multiprocessing.get_context("fork").Pool(os.cpu_count()) as pool:
            attempts = pool.imap(partial(attempt, workspace), range(len(cases)))
            ends = list(progress(attempts, total=len(cases), desc="cases"))
    report(cases, ends)
    tried = [f"{case.command} {case.words}, {case.title}" for case in cases]
    failures = [f"{what}: {wrong}" for what, (_, wrong) in zip(tried, ends, strict=True) if wrong]
    if options.save:
        options.save.write_text("\n\n".join(failures), encoding="utf-8", errors="replace")
    if failures:
        raise UserError(
            f"{len(failures)} of {len(cases)} cases failed:\n"
            + "\n".join(f[:300] for f in failures)
        )


def report(cases, ends):
    """Print a Markdown table of how many cases of each kind ended how."""
    print("| case | tried | refused | succeeded | failed |\n| --- | --- | --- | --- | --- |")
    for kind in sorted({case.kind for case in cases}):
        found = [end for case, end in zip(cases, ends, strict=True) if case.kind == kind]
        failed = sum(bool(wrong) for _, wrong in found)
        succeeded = sum(status == 0 and not wrong for status, wrong in found)
        print(
            f"| {kind} | {len(found)} "
            f"| {len(found) - failed - succeeded} | {succeeded} | {failed} |"
        )


def draw(count, commands, chance):
    """Draw cases of the commands: all that are written down, and as much nonsense as fits."""
    plain = [command for command in commands if not re.search(" --| again| of a run", command)]
    fixed = [case for case in (*races(), *full_disks()) if case.command in commands]
    fixed += [case for command in plain for case in over_inputs(command)]
    written = (*written_down(), *cases_of_tracks())
    fixed += [case for case in written if case.command in commands]
    many = [case for command in plain for case in nonsense(command)]
    many += cases_of_python() if commands is WORKING else []
    chance.shuffle(many)
    share = max((count - len(fixed)) // 2, count - len(fixed) - len(many), 0)
    read = [
        (file, command) for file, users in READ.items() for command in users if command in commands
    ]
    damaged = [damage(chance.choice(read), chance) for _ in range(share if read else 0)]
    cases = [*fixed, *many[: max(count - len(fixed) - len(damaged), 0)], *damaged]
    chance.shuffle(cases)
    return cases


def nonsense(command):
    """Yield a case for each flag of a command and each value that its type might choke on."""
    for action in declared(command):
        if not action.option_strings or action.nargs == 0:
            continue
        kind = getattr(action.type, "__name__", "str")
        for value in ["", " ", *(NUMBERS if kind in ("int", "float") else TEXTS)]:
            words = [*WORKING[command], f"{action.option_strings[-1]}={value}"]
            must_fail = not value.strip() or value in NEVER.get(kind, ())
            yield Case(
                f"nonsense for a flag of {VALUES_OF.get(kind, 'text')}",
                command,
                words,
                must_fail=must_fail,
            )


def over_inputs(command):
    """Yield a case for each flag that names an output, and each file that the command reads."""
    flags = {flag for action in declared(command) for flag in action.option_strings}
    for flag in sorted(OUTPUTS & flags):
        for file in (file for file, users in READ.items() if command in users):
            # threshold.py replaces a suffix by its own.
            must_fail = command != "threshold"
            yield Case(
                "output over an input",
                command,
                [*WORKING[command], flag, file],
                must_fail=must_fail,
            )


def declared(command):
    """Return the actions of the parser of a command."""
    found = []

    def capture(parser, args=None, namespace=None):
        found.append(parser)
        sys.exit()

    name, _, subcommand = command.partition(" ")
    with patch.object(console.parser.Parser, "parse_known_args", capture), suppress(SystemExit):
        module_of(name).main([])
    actions = found[0]._actions
    if subcommand:
        actions = (
            next(action for action in actions if action.choices and action.nargs == "A...")
            .choices[subcommand]
            ._actions
        )
    return actions


def damage(reading, chance):
    """Return a case of a command that reads a damaged file. reading: (file, command)."""
    file, command = reading
    how = chance.choice(sorted(DAMAGES))
    seed = chance.random()

    def spoil(workspace):
        path = workspace / file
        content = bytearray(path.read_bytes())
        path.unlink()
        path.write_bytes(DAMAGES[how](content, random.Random(seed)))

    return Case("damaged file", command, WORKING[command], f"{how} {file}", spoil)


def flip(content, chance):
    """Change some bytes."""
    for _ in range(chance.randint(1, 8)):
        content[chance.randrange(len(content))] ^= chance.randint(1, 255)
    return content


def blank(content, chance):
    """Overwrite a block with zeros, as a lost page of a disk."""
    start, length = chance.randrange(len(content)), chance.randint(1, 4096)
    content[start : start + length] = bytes(len(content[start : start + length]))
    return content


DAMAGES = {
    "flip": lambda content, chance: flip(content, chance) if content else b"\xff",
    "blank": lambda content, chance: blank(content, chance) if content else b"\0",
    "cut": lambda content, chance: content[:chance.randrange(len(content) + 1)],
    "double": lambda content, chance: content + content, "insert": lambda content,
    chance: content[:len(content) // 2] + chance.randbytes(50) + content[len(content) // 2:],
    "replace": lambda content, chance: chance.randbytes(300), "empty": lambda content,
    chance: b"",
}  # fmt: skip


def races():
    """Return cases of two processes that write to one place."""
    commands = [
        "prepare",
        "train",
        "train --resume",
        "search index",
        "search enroll",
        "search forget",
        "explore",
        "test",
        "export",
        "threshold",
        "prepare --synthetic",
    ]
    together = [(command, WORKING[command]) for command in commands for _ in range(3)]
    return [
        Case("two at once", command, words, beside=((command, words),))
        for command, words in together
    ]


def full_disks():
    """Return cases in which files may grow to a few sizes only, as on a full disk."""

    def limit(size, workspace):
        import resource
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(
            resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
        )

    commands = [command for command in WORKING if command != "model"]
    return [
        Case(
            "full disk",
            command,
            WORKING[command],
            f"{size} bytes a file",
            before=partial(limit, size),
        )
        for command in commands
        for size in (0, 3000, 100_000)
    ]


def attempt(workspace, number):
    """Run a case in a copy of the workspace.

    Return its highest status, and what is wrong with its end or "".
    """
    # ../.. is nobody else's
    case, place = CASES[number], workspace.with_name(f"{number}") / "some" / "where"
    shutil.copytree(workspace, place, symlinks=True)
    try:
        if case.spoil:
            case.spoil(place)
        kept = {
            file: content(place / file) for file in (*(READ if case.must_fail else ()), PRECIOUS)
        }
        together = ((case.command, case.words), *case.beside)
        children = [
            start(partial(case.call, command, words, case.before), place)
            for command, words in together
        ]
        outcomes = [
            wait(child, 120 if case.command == "reproduce" else PATIENCE) for child in children
        ]
        found = {f"left {path.name}" for path in place.rglob("*.partial")}
        found |= {
            f"changed {file}" for file, before in kept.items() if content(place / file) != before
        }
        if case.look and outcomes[0].status in (0, 1, 2):
            found |= {case.look(place, outcomes[0].output)} - {""}
    finally:
        shutil.rmtree(place.parent.parent, ignore_errors=True)
    wrong = next(filter(None, (complaint(case, outcome, found) for outcome in outcomes)), "")
    return max(outcome.status or 0 for outcome in outcomes), wrong


def content(file):
    """Return what a file holds; None if it is not there, or a link to what is gone."""
    return file.read_bytes() if file.is_file() else None


def complaint(case, outcome: Outcome, found):
    """Return what is wrong with an outcome, or "". found: what is wrong with the workspace."""
    said = case.before is unread or any("error: " in line for line in outcome.output.splitlines())
    problems = {
        "hung": outcome.status is None,
        "traceback": "Traceback" in outcome.output,
        f"status {outcome.status}": outcome.status not in (0, 1, 2, None),
        "no reason given": outcome.status in (1, 2) and not said,
        "accepted": outcome.status == 0 and case.must_fail,
        "refused": outcome.status != 0 and case.must_work,
    }
    wrong = [*(problem for problem, holds in problems.items() if holds), *sorted(found)]
    return f"{', '.join(wrong)}\n{outcome.output[-1500:]}" if wrong else ""


if __name__ == "__main__":
    for command in COMMANDS:  # before any child is forked
        module_of(command)
    run_script(main)

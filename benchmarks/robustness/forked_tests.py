"""Run chosen tests in forked children of a process that has imported PyTorch alone.

`mutants.py` starts it in a copy of the repository. Each line of its input is a question in JSON:

    {"map": FILE}                     the tests of a file that pass, and the lines they execute
    {"tests": [...], "seconds": 60}   the first of these tests that fails, run file by file

Each line of its output is an answer. A question has a child of its own, which imports the project
as it is then. POSIX only.
"""

import contextlib
import importlib
import json
import os
import resource
import signal
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import pytest

from benchmarks.robustness.children import start, wait

HEAVY = [
    "torch",
    "torchvision",
    "timm",
    "scipy.optimize",
    "scipy.io",
    "sklearn.cluster",
    "matplotlib.figure",
]
HEAVY += ["hypothesis", "faiss", "onnx", "av", "pytorch_metric_learning.losses", "torch._dynamo"]
ARGUMENTS = ["-p", "no:randomly", "-p", "no:cacheprovider", "-p", "no:xdist", "--tb=line"]
ARGUMENTS += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # of what is imported already


def main():
    """Answer until the input ends."""
    for name in HEAVY:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        question = json.loads(line)
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(ask(question, Path(folder))), file=answers, flush=True)


def ask(question, folder):
    """Answer a question by a child, whose files lie in `folder`."""
    seconds = question.get("seconds", 900)
    child = start(partial(answer, question, folder), Path.cwd())
    outcome = wait(child, 4 * seconds + 60)  # others take a share of the clock's
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child[0], signal.SIGKILL)  # services that a failed test has left
    if (file := folder / "answer").exists():
        return json.loads(file.read_text())
    return {"ended": outcome.status, "said": outcome.output[-500:]}


def answer(question, folder):
    """Run the tests of a question and write the answer."""
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    if "map" in question:
        found = line_map(question["map"], folder)
    else:
        seconds = int(question["seconds"])
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
        chosen = Chosen(question["tests"])
        status = pytest.main(
            ["-x", *ARGUMENTS, f"--basetemp={folder}/tests", *chosen.files], [chosen]
        )
        found = {"failed": chosen.failed, "status": int(status)}
    (folder / "half").write_text(json.dumps(found))
    (folder / "half").rename(folder / "answer")


class Chosen:
    """A plugin of pytest that runs the chosen tests and knows the first failure.

    Files come in the order of their first tests.
    """

    def __init__(self, tests):
        self.tests = set(tests)
        self.files = list(dict.fromkeys(test.partition("::")[0] for test in tests))
        self.failed = ""

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items):
        place = {file: number for number, file in enumerate(self.files)}
        items[:] = [item for item in items if item.nodeid in self.tests]
        items.sort(key=lambda item: place[item.nodeid.partition("::")[0]])

    def pytest_collectreport(self, report):
        self.pytest_runtest_logreport(report)

    def pytest_runtest_logreport(self, report):
        if report.failed and not self.failed:
            self.failed = report.nodeid


class Mapper:
    """A plugin of pytest that names the test to coverage.py.

    The lines of a fixture count for every test of the file, all of which its result may serve.
    """

    def __init__(self, coverage):
        self.coverage = coverage
        self.seconds = {}
        self.failed = set()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        begun = time.monotonic()
        self.coverage.switch_context(item.location[0])
        done = yield
        self.coverage.switch_context("")
        self.seconds[item.nodeid] = round(time.monotonic() - begun, 3)
        return done

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item):
        self.coverage.switch_context(item.nodeid)
        try:
            return (yield)
        finally:
            self.coverage.switch_context(item.location[0])

    def pytest_runtest_logreport(self, report):
        if not report.passed:
            self.failed.add(report.nodeid)


def line_map(file, folder):
    """Return {"file", "tests": {test: seconds}, "lines": {module: {test or file: [lines]}}}."""
    from coverage import Coverage  # only a map needs it

    root = Path.cwd()
    code, *others = (str(root / name / "*") for name in (".", "tests", "benchmarks"))
    coverage = Coverage(data_file=None, include=[code], omit=others)
    coverage.start()
    mapper = Mapper(coverage)
    pytest.main([*ARGUMENTS, f"--basetemp={folder}/tests", file], [mapper])
    coverage.stop()
    data = coverage.get_data()
    lines: dict[str, dict[str, list[int]]] = {}
    for module in data.measured_files():
        found = lines[Path(module).relative_to(root).as_posix()] = {}
        for line, contexts in sorted(data.contexts_by_lineno(module).items()):
            for context in contexts:
                if context and context not in mapper.failed:
                    found.setdefault(context, []).append(line)
    tests = {test: took for test, took in mapper.seconds.items() if test not in mapper.failed}
    return {"file": file, "tests": tests, "lines": lines}


if __name__ == "__main__":
    main()

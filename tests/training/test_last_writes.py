"""A training that ends with any of the files that it writes goes on to the same bits."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import train
from benchmarks.support.people import write_people
from tests.support.flags import SMALLEST
from tests.support.runs import equal_weights, log, weights

RUN = [*SMALLEST, "--train_all", "--batchsize", "8", "--gpu_ids", "-1", "--data_dir", "people"]
RUN += ["--total", "2", "--lr", "0.02", "--erasing_p", "0.5", "--wa"]


class Killed(BaseException):
    """The process ends here: nobody catches it."""


@contextmanager
def last_write(number: int, ends: str) -> Iterator[list[str]]:
    """End the process at a file, counted from 1, which gets its name; yield the names so far.

    ends: "before" it has its name, "after" that, or "full", where the disk takes no more files.
    """
    written: list[str] = []
    replace = Path.replace

    def named(temporary, path):
        written.append(Path(path).name)
        last = len(written) == number
        if last and ends == "before":
            raise Killed
        if len(written) >= number and ends == "full":
            raise OSError(28, "No space left on device")
        replaced = replace(temporary, path)
        if last:
            raise Killed
        return replaced

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", named)
        yield written


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with people and a run `whole`, and the names of the files that the run wrote."""
    folder = tmp_path_factory.mktemp("written")
    write_people(folder / "people" / "train_all", people=6, images=4)
    with pytest.MonkeyPatch.context() as patch, last_write(0, "never") as written:
        patch.chdir(folder)
        train.main([*RUN, "--name", "whole"])
    return folder, written


def check(whole, monkeypatch, number, ends):
    folder, _ = whole
    name = f"{ends}{number}"
    monkeypatch.chdir(folder)
    with last_write(number, ends) as names, pytest.raises((Killed, OSError)):
        train.main([*RUN, "--name", name])
    assert len(names) >= number
    train.main([*RUN, "--name", name, "--resume"])
    assert equal_weights(weights("whole"), weights(name))
    assert equal_weights(weights("whole", "net_average.pth"), weights(name, "net_average.pth"))
    assert [each["loss"] for each in log("whole")] == [each["loss"] for each in log(name)]
    assert not list(Path("model", name).glob(".*.partial"))


FILES = ["opts.yaml", "versions.jsonl", *2 * ["net_last.pth", "resume.pth", "log.jsonl"]]
FILES += ["net_average.pth", "net_average_bn.pth"]


def test_these_are_the_files(whole):
    assert whole[1][-len(FILES) :] == FILES  # before them, the cache of the images


@pytest.mark.parametrize(("number", "ends"), [(6, "after"), (7, "before"), (9, "full")])
def test_a_run_goes_on_after_the_last_of_some_files(whole, monkeypatch, number, ends):
    check(whole, monkeypatch, number, ends)


@pytest.mark.slow
@pytest.mark.parametrize("ends", ["before", "after", "full"])
@pytest.mark.parametrize("number", range(1, len(FILES) + 1))
def test_a_run_goes_on_after_the_last_of_all_files(whole, monkeypatch, number, ends):
    check(whole, monkeypatch, number, ends)

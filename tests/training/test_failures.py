"""A full disk, or a loss that is not a number, in the middle of a run.

The message is right, nothing is lost, and the run goes on to the weights of an undisturbed one.

A process that dies, a restart and SIGTERM are in test_several_processes.py, SIGKILL at any moment,
broken images and a disk that is full when features are written in tests/test_scripts.py, the cache
of images in tests/data/images/test_bank.py.
"""

import re
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

import train
from benchmarks.support.people import write_people
from person_reid.errors import UserError
from person_reid.training.step import TrainingStep
from person_reid.training.training_run import stop_signal
from tests.support.runs import before_epoch, equal_weights, weights
from tests.support.small_training import without_numbers

COMMON = (
    "--backbone test_resnet --weights none --height 64 --width 32 --batchsize 8 "
    "--gpu_ids -1 --total 3 --train_all"
)
FAILING = 1  # the epoch in which it happens, counted from 0


@pytest.fixture(scope="module")
def cwd(tmp_path_factory):
    folder = tmp_path_factory.mktemp("failures")
    write_people(folder / "people" / "train_all", people=6, images=4, seed=0)
    return folder


@pytest.fixture
def run(cwd, monkeypatch):
    """A function that trains the run of a name, with further flags, and returns its weights."""
    monkeypatch.chdir(cwd)
    monkeypatch.setattr("person_reid.show.charts.draw_curves", lambda *_: None)

    def train_as(name, *flags):
        train.main([*COMMON.split(), "--data_dir", "people", "--name", name, *flags])
        return weights(name)

    return train_as


def check_last_good(run, name):
    """The epoch before has left its checkpoints.

    The run goes on to the end of an undisturbed one.
    """
    state, last = weights(name, "resume.pth"), weights(name)
    assert state["epoch"] == FAILING
    assert equal_weights(last, state["network"])
    assert equal_weights(run(name, "--resume"), run(f"{name}_whole"))


@pytest.mark.skipif(
    sys.platform == "win32", reason="limits the size of files, as a full disk would"
)
def test_a_disk_that_fills_up_costs_an_epoch_and_no_file(run, cwd, monkeypatch):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))

    try:
        full = pytest.raises(OSError, match="is the disk full")
        with before_epoch(FAILING, fill), full as error:
            run("full")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert error.value.filename.endswith("net_last.pth")
    assert not list((cwd / "model" / "full").glob(".*"))
    check_last_good(run, "full")


def test_a_picture_that_cannot_be_drawn_costs_no_training(run, cwd, monkeypatch, caplog):
    def draw_curves(*_):
        raise RuntimeError("no fonts")

    monkeypatch.setattr("person_reid.show.charts.draw_curves", draw_curves)
    run("undrawn")
    assert weights("undrawn", "resume.pth")["epoch"] == 3
    assert caplog.text.count("train.jpg: not drawn (no fonts). The training goes on.") == 2


def test_an_interruption_says_how_to_go_on_once_there_is_something_to_go_on_with(run, caplog):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets its jobs ignore it
    caplog.set_level("INFO")
    for epoch, said in ((0, False), (FAILING, True)):
        caplog.clear()
        interrupted = before_epoch(epoch, lambda: signal.raise_signal(signal.SIGINT))
        with interrupted, pytest.raises(KeyboardInterrupt):
            run(f"interrupted{epoch}")
        advice = "To continue from the last saved state: the same command with --resume."
        assert (f"Interrupted in epoch {epoch + 1}. {advice}" in caplog.text) == said
    check_last_good(run, f"interrupted{FAILING}")


@pytest.fixture
def interrupted_by():
    """A function that says what handles an interruption during the test."""
    before = signal.getsignal(signal.SIGINT)
    yield lambda handler: signal.signal(signal.SIGINT, handler)
    signal.signal(signal.SIGINT, before)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interruption_that_python_loses_comes_at_the_next_step(interrupted_by):
    """It does where a callback, such as that of a weak reference, is running."""

    class Loses:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    interrupted_by(signal.default_int_handler)
    with stop_signal() as stop:
        assert not stop()
        Loses()
        with pytest.raises(KeyboardInterrupt):
            stop()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_process_that_ignores_an_interruption_goes_on_ignoring_it(interrupted_by):
    """As one started by nohup does."""
    interrupted_by(signal.SIG_IGN)
    with stop_signal() as stop:
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        assert not stop()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_a_training_in_another_thread_is_not_stopped_by_signals():
    def ask():
        with stop_signal() as stop:
            return stop()

    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(ask).result() is False


def test_a_loss_that_is_no_number_names_the_last_good_checkpoint(run, cwd, monkeypatch):
    def train_step(step, batch, original=TrainingStep.__call__):
        broken = batch.epoch == FAILING and batch.step == 1
        return original(step, without_numbers(batch) if broken else batch)

    message = (
        r"(?s)not finite in epoch 2, batch 2\..* 8 images.*net_last\.pth is of epoch 1\b.*--resume"
    )
    with monkeypatch.context() as patch:
        patch.setattr(TrainingStep, "__call__", train_step)
        for flags in ([], ["--resume"]):  # which the message says takes the same steps
            with pytest.raises(UserError, match=message) as error:
                run("broken", *flags)
    flags = re.search(r"add (--weights .*) --name OTHER", str(error.value))[1].split()
    run("lower", "--lr", "0.01", *flags)
    listed = (cwd / "model" / "broken" / "not_finite.txt").read_text().splitlines()
    assert len(set(listed)) == 8
    assert all((cwd / path).is_file() for path in listed)
    check_last_good(run, "broken")


@pytest.mark.parametrize(
    ("weight", "value", "what"),
    [
        ("model.conv1.0.weight", float("nan"), "weights are"),
        ("classifier.classifier.0.weight", 3e38, "network's output is"),
    ],
)
def test_a_training_that_diverges_at_its_last_update_is_not_done(
    weight, value, what, run, monkeypatch, capsys
):
    def train_step(step, batch, original=TrainingStep.__call__):
        outcome = original(step, batch)
        if (batch.epoch, batch.step) == (2, len(step.images) - 1):
            step.network.state_dict()[weight].fill_(value)
        return outcome

    name = f"diverged_{what[0]}"
    monkeypatch.setattr(TrainingStep, "__call__", train_step)
    with pytest.raises(
        UserError,
        match=rf"The {what} not finite in epoch 3, batch 3\..*net_last\.pth is of epoch 2\b",
    ):
        run(name)
    assert "Done" not in capsys.readouterr().out
    assert weights(name, "resume.pth")["epoch"] == 2
    assert weights(name)[weight].isfinite().all()

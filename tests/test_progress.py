"""pytest's stderr is not a terminal, as in a log file."""

import re

from person_reid.progress import progress


def test_what_is_soon_done_leaves_no_line(capsys):
    assert list(progress(range(3), desc="images")) == [0, 1, 2]
    assert capsys.readouterr() == ("", "")


def test_a_long_task_leaves_a_line_now_and_then(monkeypatch, capsys):
    monkeypatch.setattr("person_reid.progress.LINE_EVERY", 0)
    with progress(total=4000, desc="epoch 1/2", unit=" images") as bar:
        bar.set_postfix_str("loss 3.2", refresh=False)
        bar.update(1000)
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert not out
    assert "\r" not in err
    assert re.fullmatch(
        r"epoch 1/2: 1000 of 4000, .* images/s, \d\d:\d\d left, loss 3.2", lines[-1]
    )


def test_of_several_processes_the_first_shows_its_progress(monkeypatch, capsys):
    monkeypatch.setattr("person_reid.progress.LINE_EVERY", 0)
    for rank, speaks in (("0", True), ("1", False)):
        monkeypatch.setenv("RANK", rank)
        assert list(progress(range(3))) == [0, 1, 2]
        assert bool(capsys.readouterr().err) == speaks


def test_a_program_without_a_console_has_no_bar(monkeypatch):
    monkeypatch.setattr("sys.stderr", None)
    assert list(progress(range(3), desc="images")) == [0, 1, 2]

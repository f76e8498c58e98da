"""A process for one task: it tells how far it is, and nobody waits for it for ever."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from app.data_sets.child import Child, ChildEnded
from tests.app.bringing import as_csv

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def child() -> Iterator[Child]:
    child = Child("trainer.ingest", silent_s=20)
    yield child
    child.close()


def asked(path: Path, out: Path) -> dict[str, object]:
    return {"convert": {"files": [{"path": str(path), "filename": "a.csv"}], "choices": {}, "out": str(out)}}


def test_it_answers_one_question_after_the_other_and_tells_how_far_it_is(child: Child, data_dir: Path, tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_bytes(as_csv(data_dir, 400))
    told: list[tuple[int, int]] = []
    files = [{"path": str(path), "filename": "a.csv"}]
    guess = child.ask({"guess": {"files": files, "choices": {}}})["guess"]
    assert guess["shape"] == [28, 28, 1]
    assert len(guess["sample"]["pixels"]) > 1 << 16
    converted = child.ask(asked(path, tmp_path / "out"), lambda done, total: told.append((done, total)))["converted"]
    assert sum(converted["train"] + converted["val"]) == 400
    assert told
    assert {total for _, total in told} == {path.stat().st_size}


def test_one_that_is_ended_lets_go_of_who_waits(child: Child, tmp_path: Path):
    """It hangs in a pipe that nobody writes to, as it might in any file."""
    os.mkfifo(tmp_path / "pipe")
    threading.Timer(0.5, child.end).start()
    with pytest.raises(ChildEnded, match="ended unexpectedly"):
        child.ask(asked(tmp_path / "pipe", tmp_path / "out"))


def test_one_that_says_nothing_for_long_is_given_up(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    child = Child("trainer.ingest", silent_s=0.6)
    with pytest.raises(ChildEnded, match="nothing was heard of it"):
        child.ask(asked(tmp_path / "pipe", tmp_path / "out"))
    child.close()


def test_one_that_cannot_start_says_so():
    child = Child("trainer.nothing_of_this_name")
    with pytest.raises(ChildEnded):
        child.ask({})
    child.close()

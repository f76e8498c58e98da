"""The child process that answers what needs torch: asked, asked wrongly, killed, left alone."""

from __future__ import annotations

import os
import queue
import signal
import threading
from typing import TYPE_CHECKING

import psutil
import pytest

from app.sidecar import Sidecar, SidecarError

if TYPE_CHECKING:
    from collections.abc import Iterator

QUESTION = {"network": {"arch": "lenet"}, "shape": {"channels": 1, "size": 28, "classes": 10}}


@pytest.fixture
def sidecar() -> Iterator[Sidecar]:
    sidecar = Sidecar("trainer.helper")
    yield sidecar
    sidecar.close()


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "trainer.helper" in child.cmdline()]


def test_it_answers_and_one_process_serves_many_questions(sidecar: Sidecar):
    answers = [sidecar.ask(QUESTION)["network"]["parameters"] for _ in range(3)]
    assert len(set(answers)) == 1
    assert len(children()) == 1


def test_questions_asked_at_once_are_answered_each_with_its_own(sidecar: Sidecar):
    sizes, answers = (12, 16, 20, 24, 28), {}

    def ask(size: int) -> None:
        question = {"network": {"arch": "mlp"}, "shape": {"channels": 1, "size": size, "classes": 10}}
        answers[size] = sidecar.ask(question)["network"]["layers"][0]["output"]

    threads = [threading.Thread(target=ask, args=[size]) for size in sizes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {size: [size * size] for size in sizes}


def test_a_process_that_cannot_be_started_is_told_in_words(sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CROWDED", "x" * 200_000)  # more than an environment may hold
    with pytest.raises(SidecarError, match=r"The helper process gave no answer: .*Argument list too long"):
        sidecar.ask(QUESTION)


def test_a_process_that_is_killed_is_replaced_by_the_next_question(sidecar: Sidecar):
    sidecar.ask(QUESTION)
    (process,) = children()
    os.kill(process.pid, signal.SIGKILL)
    process.wait(10)
    assert "network" in sidecar.ask(QUESTION)


def test_a_process_that_breaks_over_a_question_is_an_error_in_words_and_the_next_one_is_answered(sidecar: Sidecar):
    with pytest.raises(SidecarError, match="gave no answer"):
        sidecar.ask({"no": "question"})
    assert "network" in sidecar.ask(QUESTION)


def test_one_that_takes_too_long_is_given_up():
    slow = Sidecar("trainer.helper", timeout_s=0.01)
    with pytest.raises(SidecarError, match=r"none within 0\.01 s"):
        slow.ask(QUESTION)
    assert children() == []
    slow.close()


def test_nobody_asking_ends_it():
    brief = Sidecar("trainer.helper", idle_s=0.05)
    brief.ask(QUESTION)
    assert psutil.wait_procs(children(), timeout=10)[1] == []
    brief.close()


def test_when_too_many_wait_the_next_is_told_so_at_once():
    """The process stands still meanwhile: of three askers two have a place."""
    sidecar = Sidecar("trainer.helper", most=2)
    said: queue.SimpleQueue[object] = queue.SimpleQueue()

    def ask() -> None:
        try:
            said.put(sidecar.ask(QUESTION)["network"]["parameters"])
        except SidecarError as error:
            said.put(str(error))

    try:
        known = sidecar.ask(QUESTION)["network"]["parameters"]
        (process,) = children()
        process.suspend()
        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        assert str(said.get(timeout=20)).startswith("Too many wait")
        process.resume()
        assert [said.get(timeout=20), said.get(timeout=20)] == [known, known]
        for thread in threads:
            thread.join()
    finally:
        sidecar.close()

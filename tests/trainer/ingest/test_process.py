"""The readers as a process: questions and answers, limits, and what happens when nobody wants the answer any more."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from app.config import ROOT
from tests.limits import files_no_larger_than
from tests.trainer.ingest.conftest import arrays, table, tarred
from trainer.ingest import Choices, convert
from trainer.ingest.writing import check_space
from trainer.packing import unpack
from trainer.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.trainer.ingest.conftest import Bench
    from trainer.ingest import Upload
    from trainer.sources import ImageSet


class Talk:
    """A conversation with the process."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "trainer.ingest"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)

    def say(self, question: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(question).encode() + b"\n")
        self.process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        self.say(question)
        while "progress" in (answer := self.hear()):
            pass
        return answer


@pytest.fixture(scope="module")
def talk() -> Iterator[Talk]:
    conversation = Talk()
    yield conversation
    conversation.process.communicate()
    assert conversation.process.returncode == 0


def told(*files: Upload, **more: object) -> dict[str, Any]:
    return {"files": [{"path": str(file.path), "filename": file.filename} for file in files], **more}


def test_it_guesses_converts_and_surveys(talk: Talk, bench: Bench, real: ImageSet):
    file = bench.file("shoes.csv", table(real.images[:200], real.labels[:200].tolist()))
    guess = talk.ask({"guess": told(file)})["guess"]
    assert (guess["shape"], guess["unsure"]) == ([28, 28, 1], {})
    assert (unpack(guess["sample"]) == real.images[:200]).all()
    assert guess["sample"]["labels"] == [str(label) for label in real.labels[:200]]
    chosen = Choices.from_dict(guess["choices"] | {"val_fraction": 0.5})
    made = talk.ask({"convert": told(file, choices=chosen.to_dict(), out=str(bench.out))})["converted"]
    assert sum(made["train"]) + sum(made["val"]) == 200
    again = bench.out.with_name("again")
    assert made["content"] == convert([file], chosen, again).content
    findings = talk.ask({"findings": str(bench.out)})["findings"]
    assert findings["train"] == made["train"]


def test_what_is_wrong_comes_back_with_its_place(talk: Talk, bench: Bench):
    file = bench.file("a\udcff.csv", "label,a,b,c,d\n0,1,2,3,4\n1,2,x,4,5\n")
    error = talk.ask({"convert": told(file, out=str(bench.out))})["error"]
    assert (error["line"], error["column"], error["column_name"]) == (3, 3, "b")
    assert error["message"].startswith("a\ufffd.csv, line 3, column 3 (b): the pixel “x”")
    assert not bench.out.exists()
    errors = talk.ask({"guess": told(file, choices={"shape": [0, 1, 1], "label": -1, "colour": 1})})["errors"]
    assert set(errors) == {"shape", "label", "colour"}


def test_a_file_that_wants_too_much_memory_is_refused_in_words(talk: Talk, bench: Bench):
    """A tar header of 3 GB, for a name, in a small file."""
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 3 << 30
    file = bench.file("a.tar", info.tobuf() + tarred({"cat/a.png": b""}))
    assert "more memory than is allowed" in talk.ask({"guess": told(file)})["error"]["message"]


def test_progress_is_told_and_nothing_stays_when_whoever_asked_is_gone(bench: Bench):
    text = table(np.full((200, 784), 255, np.uint8), [0, 1] * 100, header=False)
    file = bench.file("large.csv", text * 300)
    talk = Talk()
    talk.say({"convert": told(file, out=str(bench.out))})
    done, total = talk.hear()["progress"]
    assert 0 < done < total == file.path.stat().st_size
    assert bench.out.exists()
    assert talk.process.stdin is not None
    talk.process.stdin.close()
    assert talk.process.wait(timeout=30) == 0
    assert list(bench.out.parent.iterdir()) == []
    assert talk.process.stdout is not None
    talk.process.stdout.close()


def test_what_a_killed_process_was_making_is_swept(bench: Bench):
    text = table(np.full((200, 784), 255, np.uint8), [0, 1] * 100, header=False)
    file, store = bench.file("large.csv", text * 300), Store(bench.out.parent)
    out = store.workplace() / "out"
    talk = Talk()
    talk.say({"convert": told(file, out=str(out))})
    assert "progress" in talk.hear()
    talk.process.kill()
    talk.process.communicate()
    assert out.exists()
    assert store.sets() == []
    assert store.sweep(now=time.time() + 25 * 3600) == 1
    assert not out.exists()


def test_a_disk_that_is_full_half_way_leaves_nothing(bench: Bench, real: ImageSet):
    file = bench.file("a.npz", arrays(images=real.images, labels=real.labels))
    with files_no_larger_than(500_000):
        assert "The disk is full" in str(bench.refused(file))
    assert bench.made(file).about.shape == (28, 28, 1)


def test_a_disk_without_room_is_told_before_anything_is_written():
    with pytest.raises(Exception, match="The disk is full"):
        check_space(Path("/proc"))


def test_a_large_file_takes_little_memory(bench: Bench):
    """100 MB of images, in one process from start to end."""
    images = np.random.default_rng(0).integers(0, 256, (32_000, 56, 56), np.uint8)
    file = bench.file("a.npz", arrays(images=images, labels=np.arange(32_000) % 10))
    code = (
        "import sys, pathlib as p, resource; from trainer.ingest import *; "
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; "
        "out = p.Path(sys.argv[2]); convert([Upload(p.Path(sys.argv[1]), 'a.npz')], Choices(), out); findings(out); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    command = [sys.executable, "-c", code, str(file.path), str(bench.out)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert int(done.stdout) * 1024 < 60e6

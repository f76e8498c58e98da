"""torchvision's small sets, downloaded by its own code from a server on this machine, which has them in small."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import pickle
import sys
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.error import HTTPError

import numpy as np
import pytest
from scipy.io import savemat
from torchvision import datasets

from tests.trainer.ingest.conftest import idx, zipped
from trainer import small_sets, sources
from trainer.errors import DataError, DataMissing
from trainer.small_sets import SMALL

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 256, (60, 28, 28), np.uint8)
COLOUR = RANDOM.integers(0, 256, (60, 32, 32, 3), np.uint8)
CHUNK = 32 * 1024
"""Bytes that torchvision writes at a time."""
CLASSES = {"mnist": 10, "kmnist": 10, "emnist": 47, "cifar10": 10, "cifar100": 100, "svhn": 10}


class Mirror:
    """A server with files by path, which notes what it was asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.cut: set[str] = set()
        """Names whose connection ends in the middle."""
        self.go_on = threading.Event()
        """Where it is not set, each file stops before its last byte until it is."""
        self.go_on.set()
        self.silent = False
        self.url = ""

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        name = request.path.lstrip("/")
        self.asked.append(f"{request.command} {name}")
        if self.silent:
            self.go_on.wait(60)
            return
        content = self.files.get(name)
        request.send_response(404 if content is None else 200)
        request.send_header("Content-Length", str(len(content or b"")))
        request.end_headers()
        if content is None or request.command == "HEAD":
            return
        first = len(content) // 2 if name in self.cut else len(content) - 1
        request.wfile.write(content[:first])
        request.wfile.flush()
        if name not in self.cut:
            self.go_on.wait(60)
            with contextlib.suppress(ConnectionError):  # who asked may have given up
                request.wfile.write(content[first:])


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with served(Mirror()) as mirror:
        yield mirror


@contextlib.contextmanager
def served(mirror: Mirror) -> Iterator[Mirror]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            mirror.answer(self)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Not on the terminal."""

    class Joined(ThreadingHTTPServer):
        daemon_threads = False

    with Joined(("127.0.0.1", 0), Handler) as server:
        mirror.url = f"http://127.0.0.1:{server.server_port}/"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield mirror
        finally:
            mirror.go_on.set()
            server.shutdown()


def md5(content: bytes) -> str:
    """By which torchvision knows a file."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def labels_of(name: str) -> np.ndarray:
    return np.arange(60) % CLASSES[name]


def grey_files(name: str, prefixes: tuple[str, str]) -> dict[str, bytes]:
    """For training all of them, for validation all but the first."""
    files = {}
    for start, prefix in enumerate(prefixes):
        files[f"{prefix}-images-idx3-ubyte.gz"] = gzip.compress(idx(GREY[start:]), mtime=0)
        files[f"{prefix}-labels-idx1-ubyte.gz"] = gzip.compress(idx(labels_of(name)[start:]), mtime=0)
    return files


def publish(name: str, mirror: Mirror, patch: pytest.MonkeyPatch) -> None:
    """In its real format, by torchvision's own file names; its addresses and checksums become those of these files."""
    kind = getattr(datasets, SMALL[name].label.replace("-", "").removesuffix(" Balanced").replace("Kuzushiji", "K"))
    if name in ("mnist", "kmnist"):
        mirror.files = grey_files(name, ("train", "t10k"))
        patch.setattr(kind, "mirrors", [mirror.url])
        patch.setattr(kind, "resources", [(file, md5(mirror.files[file])) for file, _ in kind.resources])
    elif name == "emnist":
        inner = grey_files(name, ("emnist-balanced-train", "emnist-balanced-test"))
        mirror.files = {"gzip.zip": zipped({f"gzip/{file}": content for file, content in inner.items()})}
        patch.setattr(kind, "url", f"{mirror.url}gzip.zip")
        patch.setattr(kind, "md5", md5(mirror.files["gzip.zip"]))
    elif name == "svhn":
        parts = {}
        for start, split in enumerate(("train", "test")):
            out, digits = io.BytesIO(), labels_of(name)[start:].reshape(-1, 1).astype(np.uint8)
            savemat(out, {"X": COLOUR[start:].transpose(1, 2, 3, 0), "y": np.where(digits == 0, 10, digits)})
            mirror.files[f"{split}_32x32.mat"] = out.getvalue()
            parts[split] = [f"{mirror.url}{split}_32x32.mat", f"{split}_32x32.mat", md5(out.getvalue())]
        patch.setattr(kind, "split_list", parts)
    else:
        publish_cifar(name, kind, mirror, patch)


def publish_cifar(name: str, kind: type[datasets.CIFAR10], mirror: Mirror, patch: pytest.MonkeyPatch) -> None:
    """All images in the first file for training; the others there are have none."""
    key, rows = ("labels" if name == "cifar10" else "fine_labels"), COLOUR.transpose(0, 3, 1, 2).reshape(60, -1)

    def batch(part: slice) -> bytes:
        return pickle.dumps({"data": rows[part], key: labels_of(name)[part].tolist()})

    (first, *others), (test,) = kind.train_list, kind.test_list
    files = {first[0]: batch(slice(None)), test[0]: batch(slice(1, None))}
    files |= {file: batch(slice(0)) for file, _ in others}
    meta = pickle.dumps({kind.meta["key"]: [f"class {number}" for number in range(CLASSES[name])]})
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as packed:
        for file, content in (files | {kind.meta["filename"]: meta}).items():
            info = tarfile.TarInfo(f"{kind.base_folder}/{file}")
            info.size = len(content)
            packed.addfile(info, io.BytesIO(content))
    mirror.files = {kind.filename: out.getvalue()}
    patch.setattr(kind, "url", f"{mirror.url}{kind.filename}")
    patch.setattr(kind, "tgz_md5", md5(out.getvalue()))
    for listed in ("train_list", "test_list"):
        patch.setattr(kind, listed, [[file, md5(files[file])] for file, _ in getattr(kind, listed)])
    patch.setattr(kind, "meta", {**kind.meta, "md5": md5(meta)})


@pytest.mark.parametrize("name", list(SMALL))
def test_each_is_downloaded_and_kept_as_it_is(
    tmp_path: Path, name: str, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
):
    publish(name, mirror, monkeypatch)
    kept = small_sets.fetch(name, tmp_path)
    assert (kept.id, len(kept.about.classes)) == (f"set:{name}@1", min(60, CLASSES[name]))
    assert kept.card.licence
    stored = COLOUR if name in ("cifar10", "cifar100", "svhn") else GREY[..., None]
    expected = stored.transpose(0, 2, 1, 3) if name == "emnist" else stored
    for split, start in (("train", 0), ("val", 1)):
        found = sources.load(kept.id, split, tmp_path)  # type: ignore[arg-type]
        assert (found.images == expected[start:]).all()
        assert found.labels.tolist() == labels_of(name)[start:].tolist()
    assert not (tmp_path / "downloads" / name).exists()
    mirror.asked.clear()
    assert small_sets.fetch(name, tmp_path) == kept
    assert mirror.asked == []


def test_its_progress_is_told_while_it_comes(tmp_path: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch):
    publish("mnist", mirror, monkeypatch)
    mirror.go_on.clear()
    assert len(mirror.files["train-images-idx3-ubyte.gz"]) > CHUNK
    told: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        told.append((done, total))
        if done >= CHUNK:
            mirror.go_on.set()

    monkeypatch.setattr(small_sets, "_EVERY_S", 0.01)
    small_sets.fetch("mnist", tmp_path, progress)
    assert mirror.go_on.is_set()
    assert all(0 <= done <= total for done, total in told)


def test_what_breaks_off_is_told_and_what_arrived_whole_is_not_asked_for_again(
    tmp_path: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
):
    publish("mnist", mirror, monkeypatch)
    mirror.cut = {"t10k-images-idx3-ubyte.gz"}
    with pytest.raises(DataMissing, match=r"What arrived of MNIST is not what was published: it was cut short"):
        small_sets.fetch("mnist", tmp_path)
    assert not (tmp_path / "sets").exists()
    mirror.cut = set()
    mirror.asked.clear()
    assert small_sets.fetch("mnist", tmp_path).id == "set:mnist@1"
    assert {line.partition("-")[0] for line in mirror.asked} == {"GET t10k"}


@pytest.mark.parametrize("name", ["kmnist", "emnist", "cifar10", "svhn"])
def test_a_wrong_checksum_is_told_and_nothing_is_kept(
    tmp_path: Path, name: str, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
):
    publish(name, mirror, monkeypatch)
    whole = dict(mirror.files)
    mirror.files = {file: content[:-1] + b"?" for file, content in whole.items()}
    with pytest.raises(DataMissing, match=r"or its checksum differs\. Fetch it again"):
        small_sets.fetch(name, tmp_path)
    assert not (tmp_path / "sets").exists()
    mirror.files = whole
    assert small_sets.fetch(name, tmp_path).id == f"set:{name}@1"


def test_a_file_that_was_being_unpacked_when_its_process_ended_is_fetched_anew(
    tmp_path: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
):
    publish("mnist", mirror, monkeypatch)
    half = tmp_path / "downloads" / "mnist" / "MNIST" / "raw"
    half.mkdir(parents=True)
    for file in mirror.files:
        (half / file.removesuffix(".gz")).write_bytes(idx(GREY)[:500])
    with pytest.raises(DataError, match=r"MNIST is damaged and was removed\. Fetch it again\."):
        small_sets.fetch("mnist", tmp_path)
    assert small_sets.fetch("mnist", tmp_path).id == "set:mnist@1"


def test_a_server_that_says_nothing_is_given_up(tmp_path: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch):
    publish("mnist", mirror, monkeypatch)
    monkeypatch.setattr(small_sets, "_SILENCE_S", 0.1)
    mirror.silent = True
    mirror.go_on.clear()
    with pytest.raises(DataMissing, match=r"MNIST could not be downloaded \(.*timed out"):
        small_sets.fetch("mnist", tmp_path)


def test_a_file_that_is_gone_from_there_is_told(tmp_path: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch):
    publish("svhn", mirror, monkeypatch)
    mirror.files = {}
    with pytest.raises(DataMissing, match=r"SVHN could not be downloaded \(HTTP Error 404: Not Found\)") as caught:
        small_sets.fetch("svhn", tmp_path)
    assert isinstance(caught.value.__cause__, HTTPError)
    caught.value.__cause__.close()  # it holds the connection


def test_without_a_network_it_says_so_and_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])
    with pytest.raises(DataMissing, match=r"MNIST could not be downloaded \(.*needs a network"):
        small_sets.fetch("mnist", tmp_path)
    assert not (tmp_path / "sets").exists()


def test_as_a_process_it_answers_in_json(
    tmp_path: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """torchvision prints nothing between: standard output is what the server reads."""
    publish("mnist", mirror, monkeypatch)
    mirror.cut = {"train-labels-idx1-ubyte.gz"}
    question = json.dumps({"fetch": "mnist", "data_dir": str(tmp_path)})

    def asked() -> list[dict[str, dict[str, str]]]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(f"{question}\n"))
        small_sets.main()
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    assert "What arrived of MNIST is not what was published" in asked()[-1]["error"]["message"]
    mirror.cut = set()
    *progress, answer = asked()
    assert answer == {"kept": "set:mnist@1"}
    assert all(set(line) == {"progress"} for line in progress)


def test_an_unknown_name_is_answered_with_those_there_are(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    from app.cli import main

    assert main(["data", "imagenet"]) == 2
    assert "There is no imagenet to fetch; there are fashion-mnist, mnist, kmnist" in capsys.readouterr().err

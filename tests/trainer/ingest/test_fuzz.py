"""Whatever bytes come, the readers say what is wrong in words, and touch nothing but what they were given."""

from __future__ import annotations

import gzip
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.trainer.ingest.conftest import arrays, idx, picture, table, tarred, zipped
from trainer.errors import IngestError
from trainer.ingest import Choices, Upload, convert, findings
from trainer.ingest.contract import KINDS

_IMAGES = np.random.default_rng(0).integers(0, 256, (8, 4, 4), np.uint8)
_LABELS = np.arange(8) % 2
_FOLDERS = {
    f"{'ab'[place % 2]}/{place}.{kind.lower()}": picture(_IMAGES[place, :, :, None], kind)
    for place, kind in enumerate(["PNG", "JPEG", "WEBP", "BMP"] * 2)
}
SEEDS = {
    "a.csv": table(_IMAGES, _LABELS.tolist()).encode(),
    "b.csv": b'"label";"x"\r\n"a b";1\r\n"c";2\r\n"c";2\r\n"a b";3\r\n',
    "a.csv.gz": gzip.compress(table(_IMAGES, _LABELS.tolist()).encode()),
    "a.npz": arrays(x_train=_IMAGES / 255, y_train=_LABELS, x_test=_IMAGES / 255, y_test=_LABELS),
    "b.npz": arrays(x=_IMAGES, y=np.array(["a b", "c"])[_LABELS]),
    "c.npz": arrays(images=_IMAGES, labels=_LABELS, class_names=np.array(["cat", "dog"])),
    "a.zip": zipped(_FOLDERS),
    "a.tar": tarred(_FOLDERS),
    "a.tar.gz": tarred(_FOLDERS, "w:gz"),
    "tables.zip": zipped({"a/train.csv": table(_IMAGES, _LABELS.tolist()).encode()}),
}
PAIR = {"images-idx3-ubyte": idx(_IMAGES), "labels-idx1-ubyte": idx(_LABELS)}


class Watch:
    """Which files this process opens to read or write, by Python's own audit events."""

    def __init__(self) -> None:
        self.on, self.opened = False, set[str]()
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.on and event in ("open", "os.mkdir", "os.remove", "os.rename", "os.symlink", "os.link"):
            self.opened |= {str(name) for name in arguments[:2] if isinstance(name, (str, Path, bytes))} - {"r", "w"}


@pytest.fixture(scope="session")
def watch() -> Watch:
    return Watch()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@st.composite
def damaged(draw: st.DrawFn, seed: bytes) -> bytes:
    """The file with a few bytes changed, cut out, put in, or written twice."""
    content = bytearray(seed)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(content)))
        length = draw(st.integers(0, 12))
        match draw(st.sampled_from(["change", "cut", "put", "twice", "end"])):
            case "change" | "put" as how:
                new = draw(st.binary(max_size=12))
                content[place : place + (len(new) if how == "change" else 0)] = new
            case "cut":
                del content[place : place + length]
            case "twice":
                content[place:place] = content[place : place + length]
            case _:
                del content[place:]
    return bytes(content)


def outcome(folder: Path, watch: Watch, files: dict[str, bytes], choices: Choices = Choices()) -> str:  # noqa: B008
    """The sentence that refuses them; empty where they are read."""
    inside, out = folder / "in", folder / "out"
    shutil.rmtree(inside, ignore_errors=True)
    shutil.rmtree(out, ignore_errors=True)
    inside.mkdir()
    uploads = []
    for number, (name, content) in enumerate(files.items()):
        (inside / str(number)).write_bytes(content)
        uploads.append(Upload(inside / str(number), name))
    said = ""
    watch.opened.clear()
    watch.on = True
    try:
        made = convert(uploads, choices, out)
        findings(out)
        assert sum(made.train) > 0 < sum(made.val)
    except IngestError as error:
        said = str(error)
    watch.on = False
    ours = str(Path(__file__).parents[3] / "trainer")
    machine = ("/usr", "/proc", "/etc/ld", "/sys/fs/cgroup")  # pandas asks there for the processors that it may use
    libraries = (sys.prefix, sys.base_prefix, ours, *machine)
    assert {name for name in watch.opened if "/" in name and not name.startswith((str(folder), *libraries))} == set()
    assert out.exists() == (not said)
    assert str(folder) not in said
    return said


SLOW = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@pytest.mark.parametrize("name", list(SEEDS))
def test_the_files_that_are_damaged_below_are_good(folder: Path, watch: Watch, name: str):
    assert outcome(folder, watch, {name: SEEDS[name]}) == ""
    assert outcome(folder, watch, PAIR) == ""


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("name", list(SEEDS))
def test_a_file_that_is_said_to_be_of_another_kind_is_read_or_refused_in_words(
    folder: Path, watch: Watch, name: str, kind: str
):
    outcome(folder, watch, {name: SEEDS[name]}, Choices(kind=kind))


@pytest.mark.parametrize("name", list(SEEDS))
@settings(deadline=None, max_examples=60, suppress_health_check=SLOW)
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused_in_words(folder: Path, watch: Watch, name: str, data: st.DataObject):
    outcome(folder, watch, {name: data.draw(damaged(SEEDS[name]))})


@settings(deadline=None, max_examples=60, suppress_health_check=SLOW)
@given(data=st.data())
def test_damaged_pairs_too(folder: Path, watch: Watch, data: st.DataObject):
    outcome(folder, watch, {name: data.draw(damaged(content)) for name, content in PAIR.items()})


@settings(deadline=None, max_examples=100, suppress_health_check=SLOW)
@given(
    head=st.sampled_from([b"", b"PK\x03\x04", b"\x1f\x8b\x08", b"\0\0\x08\x03", bytes(257) + b"ustar", b"1,2\n"]),
    rest=st.binary(max_size=200),
    name=st.text(max_size=12),
)
def test_any_bytes_under_any_name_too(folder: Path, watch: Watch, head: bytes, rest: bytes, name: str):
    outcome(folder, watch, {name: head + rest})


@settings(deadline=None, max_examples=60, suppress_health_check=SLOW)
@given(content=st.sampled_from(sorted(_FOLDERS.values())).flatmap(damaged))
def test_damaged_pictures_too(folder: Path, watch: Watch, content: bytes):
    outcome(folder, watch, {"a.zip": zipped(_FOLDERS | {"a/odd.png": content})})


@settings(deadline=None, max_examples=60, suppress_health_check=SLOW)
@given(names=st.lists(st.text(max_size=20), min_size=1, max_size=4, unique=True))
def test_any_names_in_an_archive_too(folder: Path, watch: Watch, names: list[str]):
    image = _FOLDERS["a/0.png"]
    usable = [name for name in names if "\0" not in name and name.isprintable()]
    outcome(folder, watch, {"a.zip": zipped(_FOLDERS | {f"{name}.png": image for name in usable})})

"""The data sets that are kept: versions, the same content found again, and what a crash leaves."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from app.data_sets.datasets import catalogue
from tests.trainer.ingest.conftest import table
from trainer import sources
from trainer.config import TrainConfig
from trainer.errors import ConfigError, DataError, DataMissing
from trainer.events import EpochDone
from trainer.ingest import Choices, Upload, convert
from trainer.loop import train
from trainer.store import Card, Store, export_npz

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "data")


@pytest.fixture
def converted(store: Store, data_dir: Path) -> Callable[..., Path]:
    """A converted folder of some real images."""
    real = sources.load("fashion-mnist", "train", data_dir)

    def make(count: int = 60) -> Path:
        place = store.workplace()
        words = [real.classes[label] for label in real.labels[:count]]
        (place / "train.csv").write_text(table(np.array(real.images[:count]), words))
        convert([Upload(place / "train.csv", "train.csv")], Choices(), place / "out")
        return place / "out"

    return make


def test_what_is_accepted_is_there_and_can_be_trained_on(store: Store, converted: Callable[..., Path], tmp_path: Path):
    kept = store.accept(converted(1200), "shoes", Card(source="a shop", licence="CC0"))
    assert (kept.id, kept.card.source, kept.about.classes[0]) == ("set:shoes@1", "a shop", "Ankle boot")
    assert store.sets() == [kept] == [store.get("shoes")]
    assert sources.available(tmp_path / "data")[1] == ("set:shoes@1", "shoes, version 1")
    config = TrainConfig.from_dict(
        {"dataset": kept.id, "arch": "mlp", "mlp_width": 64, "mlp_depth": 1, "epochs": 3, "batch_size": 50}
    )
    done = [event for event in train(config, data_dir=tmp_path / "data") if isinstance(event, EpochDone)]
    assert done[-1].val_accuracy > 0.4


def test_a_new_upload_under_the_same_name_is_a_new_version_and_the_newest_is_what_the_name_means(
    store: Store, converted: Callable[..., Path], tmp_path: Path
):
    first, second = store.accept(converted(60), "shoes"), store.accept(converted(80), "shoes")
    assert [dataset.id for dataset in store.sets()] == ["set:shoes@2", "set:shoes@1"]
    assert sources.resolve("set:shoes", tmp_path / "data") == second.id
    assert sources.resolve("set:shoes@1", tmp_path / "data") == first.id
    assert sources.resolve("csv:other", tmp_path / "data") == "csv:other"
    assert sources.version(first.id, tmp_path / "data") != sources.version(second.id, tmp_path / "data")
    assert len(sources.load("set:shoes", "train", tmp_path / "data")) > len(
        sources.load(first.id, "train", tmp_path / "data")
    )


def test_the_same_content_is_found_again_and_not_kept_twice(store: Store, converted: Callable[..., Path]):
    first = store.accept(converted(), "shoes", Card(notes="the first"))
    again = converted()
    assert store.accept(again, "boots") == first
    assert not again.exists()
    assert store.sets() == [first] == [store.find(first.about.content)]


def test_a_removed_versions_number_is_not_given_again(store: Store, converted: Callable[..., Path], tmp_path: Path):
    for count in (60, 80):
        store.accept(converted(count), "shoes")
    store.remove("shoes", 2)
    with pytest.raises(DataMissing, match="no data set shoes, version 2"):
        sources.load("set:shoes@2", "train", tmp_path / "data")
    assert store.accept(converted(80), "shoes").version == 3
    store.remove("shoes", 1)
    store.remove("shoes", 3)
    assert store.sets() == []
    with pytest.raises(DataMissing, match="no data set shoes here"):
        sources.resolve("set:shoes", tmp_path / "data")
    assert store.accept(converted(60), "shoes").version == 4


def test_two_of_one_name_at_once_both_get_in(store: Store, converted: Callable[..., Path]):
    made = [converted(count) for count in (40, 50, 60, 70)]
    code = "import sys, pathlib as p; from trainer.store import Store; input(); "
    code += "print(Store(p.Path(sys.argv[1])).accept(p.Path(sys.argv[2]), 'shoes').id)"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(store.folder.parent), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for folder in made
    ]
    for process in running:  # all are there before one begins
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    told = sorted(process.communicate()[0].strip() for process in running)
    assert told == [f"set:shoes@{number}" for number in (1, 2, 3, 4)]
    assert len({dataset.about.content for dataset in store.sets()}) == 4


def test_the_export_is_read_by_numpy_and_tells_where_it_comes_from(
    store: Store, converted: Callable[..., Path], tmp_path: Path
):
    kept = store.accept(converted(), "shoes", Card("a shop", "CC0", "<script>"))
    out = io.BytesIO()
    export_npz(kept, out)
    out.seek(0)
    with np.load(out, allow_pickle=False) as arrays:
        for split in ("train", "val"):
            stored = sources.load(kept.id, split, tmp_path / "data")  # type: ignore[arg-type]
            assert (arrays[f"{split}_images"] == stored.images).all()
            assert (arrays[f"{split}_labels"] == stored.labels).all()
        assert tuple(arrays["class_names"].tolist()) == kept.about.classes
        card = json.loads(arrays["card.json"])
    assert (card["licence"], card["notes"], card["sha256"]) == ("CC0", "<script>", kept.about.content)
    assert sum(card["train"].values()) == sum(kept.about.train)


def test_what_is_said_of_it_can_be_changed(store: Store, converted: Callable[..., Path]):
    kept = store.accept(converted(), "shoes")
    assert store.describe("shoes", 1, Card(licence="MIT")).card.licence == "MIT"
    assert store.get("shoes").added == kept.added


@pytest.mark.parametrize("name", ["", "../x", "a b", ".x", "a/b", "a" * 65, "-x", "é"])
def test_a_name_that_leads_elsewhere_is_refused(store: Store, converted: Callable[..., Path], name: str):
    with pytest.raises(DataError, match="A name is made of"):
        store.accept(converted(), name)
    assert store.sets() == []
    with pytest.raises(ConfigError):
        TrainConfig(dataset=f"set:{name}")


def test_links_are_not_followed(store: Store, converted: Callable[..., Path], tmp_path: Path):
    kept = store.accept(converted(60), "shoes")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (store.folder / "boots").symlink_to(elsewhere)
    (store.folder / "shoes" / "7").symlink_to(kept.folder)
    assert store.sets() == [kept]
    with pytest.raises(DataMissing):
        store.get("shoes", 7)
    with pytest.raises(DataError, match="is a link"):
        store.accept(converted(80), "boots")
    assert list(elsewhere.iterdir()) == []


def test_what_a_crash_left_is_swept_after_a_day(store: Store, converted: Callable[..., Path]):
    kept, left = store.accept(converted(60), "shoes"), converted(80)
    assert store.sweep() == 0
    assert left.exists()
    assert store.sweep(now=time.time() + 25 * 3600) == 2  # the workplaces of both
    assert store.sets() == [kept]
    assert not left.exists()


def test_a_set_that_is_damaged_says_so(store: Store, converted: Callable[..., Path], tmp_path: Path):
    kept = store.accept(converted(), "shoes")
    (kept.folder / "val-images.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(DataError, match="shoes, version 1 cannot be read"):
        sources.load(kept.id, "val", tmp_path / "data")


@pytest.mark.parametrize("damage", ["{", "{}", '{"shape": 7}'])
def test_a_damaged_description_is_told_and_hides_no_other_set(
    store: Store, converted: Callable[..., Path], tmp_path: Path, damage: str
):
    first, second = store.accept(converted(60), "shoes"), store.accept(converted(80), "bags")
    (first.folder / "about.json").write_text(damage)
    assert store.sets() == [second]
    assert store.damaged() == [("shoes", 1)]
    with pytest.raises(DataError, match="sets/shoes/1 is damaged"):
        store.get("shoes")
    shown = {item.id: item.problem for item in catalogue(tmp_path / "data")}
    assert "damaged" in str(shown["set:shoes@1"])
    assert shown["set:bags@1"] is None


def test_a_set_that_is_being_described_is_there_all_the_time(store: Store, converted: Callable[..., Path]):
    kept = store.accept(converted(60), "shoes")
    stop = threading.Event()

    def look() -> bool:
        found = set()
        while not stop.is_set():
            found.add(len(store.sets()))
        return found == {1}

    with ThreadPoolExecutor(1) as threads:
        always = threads.submit(look)
        for number in range(100):
            store.describe("shoes", 1, Card(notes=str(number)))
        stop.set()
        assert always.result()
    assert store.get("shoes").bytes == kept.bytes + len("99")

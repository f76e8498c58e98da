"""A run's numbers taken away: over HTTP, by the command, and as what TensorBoard shows."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from html import unescape
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pandas as pd
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from app import recording, runs
from app.db import Database
from app.exchange import eventfile, tensorboard
from tests.app import factories
from trainer.config import TrainConfig

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.testclient import TestClient

    from app.config import Settings
    from tests.conftest import Command, FakeClock


def recorded(db: Database, clock: FakeClock, name: str = "first", epochs: int = 2) -> int:
    with db.write() as session:
        run = runs.submit(session, TrainConfig(epochs=epochs, lr=0.01), name=name, tags=["a"], now=clock())
        held = runs.claim(session, "w1", now=clock())
        assert held is not None
        recording.record(session, held, factories.started(), now=clock())
        for number in range(1, epochs + 1):
            recording.record(session, held, factories.steps(number, 0, 0.9, 0.8, 0.7, 0.6), now=clock())
            loss = float("nan") if number == 3 else 1 / number
            recording.record(session, held, factories.epoch(number, train_loss=loss), now=clock())
        runs.finish(session, held, now=clock())
        return run.id


@pytest.fixture
def run_id(client: TestClient, home_with_data: Settings, clock: FakeClock) -> int:
    db = Database(home_with_data.database)
    try:
        return recorded(db, clock)
    finally:
        db.close()


def test_epochs_and_steps_are_there_as_csv_json_and_parquet(client: TestClient, run_id: int):
    api = client.get(f"/api/v1/runs/{run_id}/metrics").json()
    answer = client.get(f"/api/v1/runs/{run_id}/epochs.csv")
    assert answer.headers["content-disposition"] == f'attachment; filename="run{run_id}-epochs.csv"'
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [float(row["train_loss"]) for row in rows] == [row["train_loss"] for row in api["epochs"]]
    assert client.get(f"/api/v1/runs/{run_id}/epochs.json").json() == api["epochs"]
    frame = pd.read_parquet(io.BytesIO(client.get(f"/api/v1/runs/{run_id}/steps.parquet").content))
    assert frame["train_loss"].tolist() == [loss for block in api["steps"] for loss in block["losses"]]
    assert frame["step"].tolist() == list(range(8))


@pytest.mark.parametrize("path", ["9/epochs.csv", "9/steps.json", "9/tensorboard.zip", "1/epochs.xls"])
def test_what_is_not_there_is_a_problem_and_no_empty_file(client: TestClient, run_id: int, path: str):
    answer = client.get(f"/api/v1/runs/{path}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_the_zip_holds_what_tensorboards_own_reader_reads(client: TestClient, run_id: int, tmp_path: Path):
    archive = zipfile.ZipFile(io.BytesIO(client.get(f"/api/v1/runs/{run_id}/tensorboard.zip").content))
    archive.extractall(tmp_path)
    found = EventAccumulator(str(tmp_path / f"{run_id:04d}-first")).Reload()
    assert set(found.Tags()["scalars"]) == {*tensorboard.BY_EPOCH, tensorboard.BY_STEP}
    assert [(point.step, point.value) for point in found.Scalars("loss/train")] == [(1, 1.0), (2, 0.5)]
    steps = found.Scalars(tensorboard.BY_STEP)
    assert [point.step for point in steps] == list(range(8))
    assert steps[0].wall_time < steps[1].wall_time < steps[3].wall_time < found.Scalars("loss/train")[0].wall_time
    content = found.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    settings = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    assert settings["lr"].number_value == 0.01
    assert settings["arch"].string_value == "net"


def test_writing_again_replaces_a_run_and_leaves_no_second_curve(db: Database, clock: FakeClock, tmp_path: Path):
    run_id = recorded(db, clock, name="../../=odd name/")
    for _ in range(2):
        tensorboard.write_folder(db, [run_id], tmp_path / "logs")
    (file,) = [path for path in tmp_path.rglob("*") if path.is_file() and "tfevents" in path.name]
    assert file.parent == tmp_path / "logs" / f"{run_id:04d}-odd-name"
    assert not list(tmp_path.rglob("*.part"))


def test_the_table_comes_as_filtered_in_its_order_and_on_all_pages(
    client: TestClient, home_with_data: Settings, command: Command
):
    for number in range(60):
        client.post("/api/v1/runs", json={"name": f"=run {number}", "lr": 0.001 * (1 + number), "tags": ["a", "b"]})
    query = "filter=lr < 0.0555&sort=-lr"
    rows = list(csv.DictReader(io.StringIO(client.get(f"/api/v1/runs.csv?{query}").text)))
    assert [row["name"] for row in rows] == [f"'=run {number}" for number in reversed(range(55))]
    assert (rows[0]["lr"], rows[0]["flip"], rows[0]["tags"], rows[0]["val_loss"]) == ("0.055", "false", "a, b", "")
    as_json = client.get(f"/api/v1/runs.json?{query}").json()
    assert [row["id"] for row in as_json] == [int(row["id"]) for row in rows]
    frame = pd.read_parquet(io.BytesIO(client.get(f"/api/v1/runs.parquet?{query}").content))
    assert (str(frame["lr"].dtype), str(frame["epochs"].dtype)) == ("float64", "int64")
    assert frame["name"][0] == "=run 54"
    assert 'href="/api/v1/runs.csv?status=queued"' in client.get("/runs?status=queued").text
    page = client.get("/runs?filter=lr+<+0.003&sort=lr&cols=tags,curve|name:200,accuracy").text
    (shown,) = [unescape(url) for url in re.findall(r'href="([^"]*runs.csv[^"]*columns=[^"]*)"', page)]
    chosen = list(csv.reader(io.StringIO(client.get(shown).text)))
    assert chosen == [["tags", "name", "best_val_accuracy"], *(["a, b", f"'=run {number}", ""] for number in range(2))]
    refused = client.get("/api/v1/runs.csv?columns=lr,evil")
    assert (refused.status_code, set(refused.json()["errors"])) == (422, {"columns"})
    printed = command(home_with_data.home, "export", "--filter", "lr < 0.0025").stdout
    assert len(printed.splitlines()) == 3


def test_a_filter_that_cannot_be_read_makes_no_file(client: TestClient, settings: Settings, command: Command):
    for path in ("runs.csv", "tensorboard.zip"):
        answer = client.get(f"/api/v1/{path}?filter=lr <")
        assert answer.status_code == 422
        assert "filter" in answer.json()["errors"]
    refused = command(settings.home, "export", "--filter", "nothing = 1")
    assert (refused.returncode, refused.stdout) == (2, "")


def test_several_runs_come_in_one_zip_named_or_filtered(client: TestClient):
    for number in range(3):
        client.post("/api/v1/runs", json={"name": f"run {number}"})
    for query, names in (
        ("runs=2-3,1", ["0002-run-1", "0003-run-2", "0001-run-0"]),
        ("runs=3&runs=1", ["0003-run-2", "0001-run-0"]),
        ('filter=name = "run 1"', ["0002-run-1"]),
    ):
        archive = zipfile.ZipFile(io.BytesIO(client.get(f"/api/v1/tensorboard.zip?{query}").content))
        assert [name.partition("/")[0] for name in archive.namelist()] == names
    assert 'href="/api/v1/tensorboard.zip?sort=lr" download' in client.get("/runs?sort=lr&fold=off&cols=lr").text
    too_many = "&".join(f"runs={number}" for number in range(501))
    assert "At most 500" in client.get(f"/api/v1/tensorboard.zip?{too_many}").json()["errors"]["runs"]


def test_an_epoch_that_was_not_finite_is_a_nan_of_its_own(db: Database, clock: FakeClock, tmp_path: Path):
    run_id = recorded(db, clock, epochs=3)
    tensorboard.write_folder(db, [run_id], tmp_path)
    (file,) = tmp_path.rglob("*tfevents*")
    losses = [item.value for item in eventfile.read(file) if getattr(item, "tag", "") == "loss/train"]
    assert losses[:2] == [1.0, 0.5]
    assert losses[2] != losses[2]


def test_a_real_tensorboard_shows_the_same_curve(db: Database, clock: FakeClock, tmp_path: Path):
    run_id = recorded(db, clock)
    tensorboard.write_folder(db, [run_id], tmp_path)
    command = [sys.executable, "-m", "tensorboard.main", f"--logdir={tmp_path}", "--port=0", "--host=127.0.0.1"]
    # Its own reader in Python has read everything before it serves.
    process = subprocess.Popen([*command, "--load_fast=false"], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        line = next(line for line in process.stderr if "http://" in line)
        url = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert url is not None
        name = f"{run_id:04d}-first"
        shown = poll(f"{url[0]}/data/plugin/scalars/scalars?run={quote(name)}&tag={quote('loss/train', safe='')}")
        assert [(step, value) for _, step, value in shown] == [(1, 1.0), (2, 0.5)]
    finally:
        process.kill()
        process.communicate()


def poll(url: str, tries: int = 2000) -> Any:
    """The JSON there once it is there: TensorBoard serves before it has read its files."""
    for _ in range(tries):
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code not in (400, 404):
                raise
    raise AssertionError(f"{url} never answered")


def test_the_command_writes_tables_and_event_files(
    db: Database, settings: Settings, clock: FakeClock, tmp_path: Path, command: Command
):
    run_id = recorded(db, clock)
    printed = command(settings.home, "export", str(run_id), "--steps").stdout.splitlines()
    assert printed[:2] == ["step,epoch,train_loss", "0,1,0.9"]
    done = command(settings.home, "export", str(run_id), "--tensorboard", str(tmp_path / "logs"))
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "logs").rglob("*tfevents*"))


@pytest.mark.parametrize(("arguments", "status", "words"), [(["9"], 1, "no run 9"), (["1", "2"], 2, "one run")])
def test_the_command_says_what_it_cannot_do(
    db: Database, settings: Settings, arguments: list[str], status: int, words: str, command: Command
):
    done = command(settings.home, "export", *arguments)
    assert done.returncode == status
    assert words in done.stderr
    assert done.stdout == ""

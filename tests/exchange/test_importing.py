"""Past runs of other tools stand beside Fitroom's own: all or none of them, once, with whatever they measured."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import pytest
from sqlalchemy import func, select
from torch.utils.tensorboard import SummaryWriter

from app import metrics, runs
from app.exchange import importing, mapping, tensorboard
from app.exchange.past import ImportProblem, Series
from app.models import Epoch, Run, SeriesRow, Source, Status
from app.runs_table import listing, sparks
from tests.exchange.test_exports import recorded

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from app.config import Settings
    from app.db import Database
    from tests.conftest import Command, FakeClock

Importer = "Callable[..., list[int]]"


@pytest.fixture
def take(db: Database, clock: FakeClock) -> Callable[[str, Path], list[int]]:
    """Imports what lies at a path and gives the numbers of the new runs."""

    def take(kind: str, path: Path) -> list[int]:
        found = importing.read(kind, path)
        with db.write() as session:
            return importing.carry_out(session, importing.planned(session, found), who="test", now=clock()).made

    return take


def column(db: Database, run_id: int, name: str) -> list[float | None]:
    with db.read() as session:
        return [getattr(row, name) for row in metrics.epochs(session, run_id)]


# TensorBoard


def test_a_log_directory_gives_a_run_for_each_folder(db: Database, take: Callable[..., list[int]], tmp_path: Path):
    for lr in (0.1, 0.01):
        with SummaryWriter(str(tmp_path / "logs" / f"lr {lr}")) as writer:
            for step in range(3):
                writer.add_scalar("Loss/train", 1 / (step + 1), step, walltime=1000.0 + 60 * step)
                writer.add_scalar("Accuracy/val", 0.5 + step / 10, step, walltime=1000.0 + 60 * step)
                writer.add_scalar("weights/norm", step * 2.0, step, walltime=1000.0 + 60 * step)
    first, second = take("tensorboard", tmp_path / "logs")
    with db.read() as session:
        run = runs.get(session, first)
        assert (run.source, run.status, run.epochs_done, run.best_epoch) == (Source.TENSORBOARD, Status.FINISHED, 3, 3)
        assert {runs.get(session, run_id).name for run_id in (first, second)} == {"lr 0.1", "lr 0.01"}
        assert run.best_val_accuracy == pytest.approx(0.7)
        assert sparks.unpack(run.spark) == pytest.approx([0.5, 0.6, 0.7], abs=1e-4)
        series = session.scalars(select(SeriesRow).where(SeriesRow.run_id == first)).one()
        assert (series.name, np.frombuffer(series.values).tolist()) == ("weights/norm", [0.0, 2.0, 4.0])
    assert column(db, first, "train_loss") == pytest.approx([1, 1 / 2, 1 / 3])
    assert column(db, first, "seconds") == [None, 60.0, 60.0]
    assert column(db, first, "lr") == [None, None, None]


def test_what_writers_spread_over_folders_is_one_run(db: Database, take: Callable[..., list[int]], tmp_path: Path):
    """Keras writes `train` and `validation`; PyTorch's add_scalars a folder a line, its add_hparams one a call."""
    for split, loss in (("train", 0.5), ("validation", 0.6)):
        with SummaryWriter(str(tmp_path / "keras" / split)) as writer:
            writer.add_scalar("epoch_loss", loss, 0)
    with SummaryWriter(str(tmp_path / "torch")) as writer:
        writer.add_scalar("acc", 0.5, 1)
        writer.add_scalars("Loss", {"train": 0.4, "val": 0.3}, 1)
        writer.add_hparams({"lr": 0.1, "layers": 3}, {"hparam/f1": 0.9})
    by_name = {}
    for run_id in take("tensorboard", tmp_path):
        with db.read() as session:
            by_name[runs.get(session, run_id).name] = runs.get(session, run_id)
    assert set(by_name) == {"keras", "torch"}
    keras, torch = by_name["keras"], by_name["torch"]
    assert (keras.train_loss, keras.val_loss) == pytest.approx((0.5, 0.6))
    assert (torch.train_loss, torch.val_loss, torch.config["lr"]) == pytest.approx((0.4, 0.3, 0.1))
    assert torch.source_info is not None
    assert torch.source_info["settings"] == {"layers": 3.0}


def test_a_run_comes_back_from_its_own_event_file(
    db: Database, take: Callable[..., list[int]], clock: FakeClock, tmp_path: Path
):
    run_id = recorded(db, clock, epochs=3)
    tensorboard.write_folder(db, [run_id], tmp_path)
    (copy,) = take("tensorboard", tmp_path)
    for name in ("train_accuracy", "val_loss", "val_accuracy", "lr", "images_per_s"):
        assert column(db, copy, name) == pytest.approx(column(db, run_id, name))
    assert column(db, copy, "train_loss") == [1.0, 0.5, None]
    assert column(db, copy, "diverged") == [False, False, True]
    with db.read() as session:
        original, imported = runs.get(session, run_id), runs.get(session, copy)
        assert imported.config == {name: value for name, value in original.config.items() if value is not None}
        assert imported.config_key != original.config_key
        series = session.scalars(select(SeriesRow).where(SeriesRow.run_id == copy)).one()
        assert (series.name, len(np.frombuffer(series.steps, "<i8"))) == (tensorboard.BY_STEP, 12)


def test_a_log_that_has_grown_is_the_same_run(db: Database, take: Callable[..., list[int]], tmp_path: Path):
    writer = SummaryWriter(str(tmp_path / "run"))
    writer.add_scalar("val_loss", 1.0, 0)
    writer.add_scalar("val_loss", 0.5, 1)
    writer.flush()
    assert len(take("tensorboard", tmp_path)) == 1
    writer.add_scalar("val_loss", 0.25, 2)
    writer.close()
    assert take("tensorboard", tmp_path) == []
    assert take("tensorboard", tmp_path / "run") == []


def test_a_damaged_event_file_is_named_and_nothing_of_its_neighbours_is_imported(
    db: Database, take: Callable[..., list[int]], tmp_path: Path
):
    for name in ("a", "b"):
        with SummaryWriter(str(tmp_path / name)) as writer:
            writer.add_scalar("val_loss", 1.0, 0)
    (file,) = (tmp_path / "b").iterdir()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(ImportProblem, match=r"b/events.*: the record at byte \d+ is damaged"):
        take("tensorboard", tmp_path)
    with db.read() as session:
        assert session.scalar(select(func.count()).select_from(Run)) == 0


def test_links_out_of_the_directory_are_not_followed(take: Callable[..., list[int]], tmp_path: Path):
    with SummaryWriter(str(tmp_path / "outside")) as writer:
        writer.add_scalar("val_loss", 1.0, 0)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "linked").symlink_to(tmp_path / "outside")
    (file,) = (tmp_path / "outside").iterdir()
    (tmp_path / "logs" / "events.out.tfevents.1").symlink_to(file)
    with pytest.raises(ImportProblem, match="no run"):
        take("tensorboard", tmp_path / "logs")


# MLflow


def mlflow_files(root: Path) -> Path:
    """A folder as MLflow 3.17 leaves it."""
    run = root / "mlruns" / "69067" / "1a37eba4ab674856b744149d3ba2781a"
    for folder in ("params", "tags", "metrics/train", "artifacts"):
        (run / folder).mkdir(parents=True)
    (run.parent / "meta.yaml").write_text(
        "artifact_location: file:///x\nexperiment_id: '69067'\nlifecycle_stage: active\nname: 'sweep: one'\n"
    )
    (run / "meta.yaml").write_text(
        "end_time: 1795559921950\nexperiment_id: '69067'\nlifecycle_stage: active\n"
        f"run_id: {run.name}\nrun_name: lr 0.01\nstart_time: 1795559921928\nstatus: 3\ntags: []\nuser_id: root\n"
    )
    for name, value in {"learning_rate": "0.01", "optimizer": "Adam", "layers": "3x3: yes"}.items():
        (run / "params" / name).write_text(value)
    for name, value in {"team": "vision", "mlflow.user": "root", "mlflow.note.content": "two\nlines"}.items():
        (run / "tags" / name).write_text(value)
    (run / "metrics" / "train" / "loss").write_text("1795559921932 1.0 0\n1795559921933 0.5 1\n")
    (run / "metrics" / "val_acc").write_text("1795559921932 0.8 0\n1795559921933 nan 1 data digest\n")
    (run / "metrics" / "batch_loss").write_text("".join(f"179555992193{step} {step} {step}\n" for step in range(5)))
    return root / "mlruns"


def mlflow_database(file: Path) -> Path:
    """The tables of MLflow 3.17 that hold runs, with one run of each ending."""
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript("""
            CREATE TABLE experiments (experiment_id INTEGER PRIMARY KEY, name VARCHAR(256), lifecycle_stage TEXT);
            CREATE TABLE runs (run_uuid VARCHAR(32) PRIMARY KEY, name VARCHAR(250), status VARCHAR(9),
                start_time BIGINT, end_time BIGINT, lifecycle_stage VARCHAR(20), experiment_id INTEGER);
            CREATE TABLE metrics (key VARCHAR(250), value FLOAT, timestamp BIGINT, run_uuid VARCHAR(32), step BIGINT,
                is_nan BOOLEAN);
            CREATE TABLE params (key VARCHAR(250), value VARCHAR(8000), run_uuid VARCHAR(32));
            CREATE TABLE tags (key VARCHAR(250), value VARCHAR(8000), run_uuid VARCHAR(32));
            INSERT INTO experiments VALUES (1, 'sweep', 'active'), (2, 'gone', 'deleted');
            INSERT INTO runs VALUES ('a', 'first', 'FINISHED', 1000, 61000, 'active', 1),
                ('b', '', 'FAILED', 2000, 3000, 'active', 1), ('c', 'x', 'RUNNING', 3000, NULL, 'active', 1),
                ('d', 'x', 'FINISHED', 1, 2, 'deleted', 1), ('e', 'x', 'FINISHED', 1, 2, 'active', 2);
            INSERT INTO metrics VALUES ('val_loss', 1.5, 1000, 'a', 234, 0), ('val_loss', 0.0, 2000, 'a', 468, 1),
                ('val_loss', 1.7976931348623157e308, 3000, 'a', 702, 0), ('f1', 0.5, 1000, 'd', 1, 0);
            INSERT INTO params VALUES ('lr', '0.1', 'a'), ('batch_size', 'many', 'a');
            INSERT INTO tags VALUES ('mlflow.runName', 'second', 'b'), ('team', 'vision', 'b');
        """)
    return file


def test_an_mlruns_folder_is_read_with_its_settings_tags_and_notes(
    db: Database, take: Callable[..., list[int]], tmp_path: Path
):
    (run_id,) = take("mlflow", mlflow_files(tmp_path))
    with db.read() as session:
        run = runs.get(session, run_id)
        assert (run.name, run.notes, run.status) == ("lr 0.01", "two\nlines", "finished")
        assert run.config == {"lr": 0.01, "optimizer": "adam", "epochs": 2}
        assert [tag.name for tag in run.tags] == ["sweep: one", "team=vision"]
        assert run.source_info is not None
        assert run.source_info["settings"] == {"layers": "3x3: yes"}
        found = listing.ids(session, listing.Query.of(filter="source = mlflow and lr = 0.01"), now=run.created_at)
        assert found == [run_id]
        kept = session.scalars(select(SeriesRow.name).where(SeriesRow.run_id == run_id)).all()
        assert kept == ["batch_loss"]
    assert column(db, run_id, "train_loss") == [1.0, 0.5]
    assert column(db, run_id, "val_accuracy") == [0.8, None]
    assert column(db, run_id, "diverged") == [False, True]
    assert take("mlflow", tmp_path) == []


def test_times_that_are_none_leave_the_curve_as_it_is(db: Database, take: Callable[..., list[int]], tmp_path: Path):
    """Nanoseconds where MLflow has milliseconds: fifty million years from now."""
    root = mlflow_files(tmp_path)
    (metric,) = root.rglob("val_acc")
    metric.write_text("1795559921932000000 0.8 0\n1795559921933000000 0.9 1\n")
    (run_id,) = take("mlflow", root)
    assert column(db, run_id, "val_accuracy") == [0.8, 0.9]
    assert all(at is not None for at in column(db, run_id, "finished_at"))


def test_a_metric_without_a_point_is_left_out(db: Database, take: Callable[..., list[int]], tmp_path: Path):
    root = mlflow_files(tmp_path)
    (metric,) = root.rglob("val_acc")
    metric.write_text("")
    (run_id,) = take("mlflow", root)
    assert column(db, run_id, "val_accuracy") == [None, None]
    assert column(db, run_id, "train_loss") == [1.0, 0.5]


def test_an_mlflow_database_is_read_without_its_deleted_runs(
    db: Database, take: Callable[..., list[int]], tmp_path: Path
):
    made = take("mlflow", mlflow_database(tmp_path / "mlflow.db"))
    with db.read() as session:
        found = [runs.get(session, run_id) for run_id in made]
    assert [(run.name, run.status) for run in found] == [
        ("first", "finished"),
        ("second", "failed"),
        ("x", "cancelled"),
    ]
    assert column(db, made[0], "val_loss") == [1.5, None, None]
    assert column(db, made[0], "epoch") == [1, 2, 3]
    assert found[0].source_info is not None
    assert found[0].source_info["settings"] == {"batch_size": "many"}
    assert take("mlflow", tmp_path) == []


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("metrics/val_acc", "1 2 3\nsoon 0.8 0\n", r"metrics/val_acc, line 2: must be a time, a value and a step"),
        ("meta.yaml", "status: [1\n", r"meta.yaml, line 2 is no YAML"),
        ("meta.yaml", "just words", r"names nothing"),
        ("params/lr", b"\xff\xfe", r"params/lr cannot be read"),
    ],
)
def test_a_broken_file_of_mlflow_is_named_with_its_line(
    take: Callable[..., list[int]], tmp_path: Path, file: str, content: str | bytes, words: str
):
    (run,) = (path.parent for path in mlflow_files(tmp_path).glob("*/*/meta.yaml"))
    (run / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ImportProblem, match=words):
        take("mlflow", tmp_path)


@pytest.mark.parametrize("kind", ["mlflow", "tensorboard", "csv"])
@pytest.mark.parametrize("make", ["nothing", "folder", "database"])
def test_what_is_something_else_is_refused_in_words(
    take: Callable[..., list[int]], tmp_path: Path, kind: str, make: str
):
    path = tmp_path / "given"
    if make == "folder":
        path.mkdir()
    elif make == "database":
        sqlite3.connect(path).executescript("CREATE TABLE runs (name TEXT)").connection.close()
    with pytest.raises(ImportProblem, match=r"given|no run"):
        take(kind, path)


# CSV


def test_a_csv_with_a_line_a_run_keeps_unknown_columns_as_settings(
    db: Database, take: Callable[..., list[int]], tmp_path: Path
):
    file = tmp_path / "old.csv"
    file.write_text(
        "name;lr;batch_size;val_acc;val_loss;gpu;tags;created_at\n"
        "first;0.001;64;91,5;0.3;A100;a, b;2025-06-01\n".replace(",5", ".5")
        + "'=odd;1e-2;;;;;;\n'=odd;1e-2;;;;;;\n"
    )
    first, second, third = take("csv", file)
    with db.read() as session:
        run, odd = runs.get(session, first), runs.get(session, second)
    assert (run.name, run.val_accuracy, run.best_val_accuracy, run.val_loss) == ("first", 0.915, 0.915, 0.3)
    assert run.config == {"lr": 0.001, "batch_size": 64, "epochs": 0}
    assert run.source_info is not None
    assert run.source_info["settings"] == {"gpu": "A100"}
    assert ([tag.name for tag in run.tags], f"{run.created_at:%Y-%m-%d}") == (["a", "b"], "2025-06-01")
    assert (odd.name, odd.config["lr"]) == ("=odd", 0.01)
    assert third != second
    assert take("csv", file) == []


def test_a_csv_with_a_line_an_epoch_gives_curves(db: Database, take: Callable[..., list[int]], tmp_path: Path):
    file = tmp_path / "history.csv"
    file.write_text("run,epoch,loss,val_accuracy,lr\na,1,0.9,0.5,0.1\na,2,0.8,0.6,0.05\nb,1,0.7,,0.1\n")
    first, second = take("csv", file)
    assert column(db, first, "train_loss") == [0.9, 0.8]
    assert column(db, first, "val_accuracy") == [0.5, 0.6]
    assert column(db, first, "lr") == [0.1, 0.05]
    assert column(db, second, "train_loss") == [0.7]


def test_a_run_comes_back_from_its_own_csv(
    db: Database, settings: Settings, take: Callable[..., list[int]], clock: FakeClock, tmp_path: Path, command: Command
):
    run_id = recorded(db, clock)
    (tmp_path / "epochs.csv").write_text(command(settings.home, "export", str(run_id)).stdout)
    (copy,) = take("csv", tmp_path / "epochs.csv")
    for name in ("train_loss", "val_loss", "val_accuracy", "lr", "images_per_s", "finished_at"):
        assert column(db, copy, name) == column(db, run_id, name)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", r"no line below"),
        ("lr,val_acc\n", r"no line below"),
        ("lr,lr\n1,2\n", r"line 1: the heading lr is there twice"),
        ("lr,\n1,2\n", r"line 1: column 2 has no heading"),
        ("lr,val_acc\n0.1,0.9\n0.1\n", r"line 3: 1 cells under 2 headings"),
        ("lr,val_acc\n0.1,high\n", r"line 2: val_acc must be a number, not 'high'"),
        ("epoch,loss\none,0.1\n", r"line 2: epoch must be a number"),
        ("epoch,loss\n1.5,0.1\n", r"line 2: epoch must be a whole number"),
        ("run,epoch,loss\n,1,0.1\n", r"line 2: run is empty"),
        ("colour,shape\nred,round\n", r"no heading is a setting or result"),
        ('lr,val_acc\n0.1,"0.9\n', r"line 2: unexpected end of data"),
        ("lr,created_at\n0.1,yesterday\n", r"line 2: created_at must be an instant"),
    ],
)
def test_a_csv_that_cannot_be_read_is_refused_with_its_line(
    take: Callable[..., list[int]], tmp_path: Path, text: str, words: str
):
    file = tmp_path / "old.csv"
    file.write_text(text)
    with pytest.raises(ImportProblem, match=words):
        take("csv", file)


# In Fitroom's terms


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("loss", "train_loss"),
        ("val_loss", "val_loss"),
        ("train/accuracy", "train_accuracy"),
        ("validation/epoch_accuracy", "val_accuracy"),
        ("valAcc", "val_accuracy"),
        ("train_loss_epoch", "train_loss"),
        ("lr-Adam", "lr"),
        ("learning_rate", "lr"),
        ("samples_per_second", "images_per_s"),
        ("batch_loss", None),
        ("train_loss_step", None),
        ("val_f1", None),
        ("val_loss_train", None),
        ("", None),
    ],
)
def test_measures_are_recognised_by_the_words_of_their_names(name: str, column: str | None):
    assert mapping.column_of(name) == column


def test_a_denser_measure_is_averaged_over_each_epoch_and_kept_whole():
    dense = Series.of((step, float(step), None) for step in range(8))
    axis = Series.of([(3, 0.5, None), (7, 0.6, None)])
    past = importing.PastRun(Source.CSV, "k", "n", "w", series={"loss": dense, "val_accuracy": axis})
    mapped = mapping.of(past)
    assert mapped.numbers.tolist() == [1, 2]
    assert mapped.columns["train_loss"].tolist() == [1.5, 5.5]
    assert set(mapped.kept) == {"loss"}


def test_imported_runs_do_not_fold_with_fitrooms_own_and_are_deleted_whole(
    db: Database, take: Callable[..., list[int]], clock: FakeClock, tmp_path: Path
):
    (run_id,) = take("mlflow", mlflow_files(tmp_path))
    with db.write() as session:
        runs.remove(session, run_id, now=clock())
    with db.read() as session:
        for table in (Run, Epoch, SeriesRow):
            assert session.scalar(select(func.count()).select_from(table)) == 0
    assert take("mlflow", tmp_path) == [run_id + 1]


def test_a_log_that_has_grown_brings_its_run_up_to_date(db: Database, clock: FakeClock, tmp_path: Path):
    """TensorBoard's writer begins another file when a run goes on; what people have written on the run stays."""
    logs = tmp_path / "logs"

    def go_on(first: int, last: int) -> importing.Done:
        with SummaryWriter(str(logs)) as writer:
            for step in range(first, last):
                writer.add_scalar("Accuracy/val", 0.5 + step / 10, step, walltime=1000.0 + 60 * step)
                writer.add_scalar("weights/norm", step * 2.0, step, walltime=1000.0 + 60 * step)
        return bring()

    def bring() -> importing.Done:
        found = importing.read("tensorboard", logs)
        with db.write() as session:
            return importing.carry_out(session, importing.planned(session, found), who="test", now=clock())

    assert go_on(0, 2) == importing.Done([1], [])
    with db.write() as session:
        runs.get(session, 1).name = "mine"
    assert go_on(2, 4) == importing.Done([], [1])
    assert bring() == importing.Done([], []), "what tells nothing new leaves it as it is"
    with db.read() as session:
        run = runs.get(session, 1)
        assert (run.name, run.epochs_done, run.best_epoch) == ("mine", 4, 4)
        assert run.best_val_accuracy == pytest.approx(0.8)
        assert [line["message"] for line in metrics.log_lines(session, 1)][-1] == "Brought up to date from logs."
        series = session.scalars(select(SeriesRow)).one()
        assert np.frombuffer(series.values).tolist() == [0.0, 2.0, 4.0, 6.0]
    assert column(db, 1, "val_accuracy") == pytest.approx([0.5, 0.6, 0.7, 0.8])
    # An older copy of the log takes nothing away.
    newest = max(logs.iterdir(), key=lambda file: file.stat().st_mtime_ns)
    newest.unlink()
    assert bring() == importing.Done([], [])
    assert len(column(db, 1, "val_accuracy")) == 4


def test_an_mlflow_run_that_has_ended_since_says_so(db: Database, take: Callable[..., list[int]], tmp_path: Path):
    store = mlflow_files(tmp_path)
    meta = next(store.rglob("1a37*/meta.yaml"))
    meta.write_text(meta.read_text().replace("status: 3", "status: 1"))
    (run_id,) = take("mlflow", store)
    with db.read() as session:
        assert runs.get(session, run_id).status == Status.CANCELLED
    meta.write_text(meta.read_text().replace("status: 1", "status: 3"))
    assert take("mlflow", store) == []
    with db.read() as session:
        assert runs.get(session, run_id).status == Status.FINISHED


def test_the_command_previews_imports_and_refuses(settings: Settings, tmp_path: Path, command: Command):
    store = mlflow_files(tmp_path)
    shown = command(settings.home, "import", "mlflow", str(store), "--dry-run")
    assert shown.stdout == "lr 0.01: 2 epochs, best validation accuracy 80.00 %, 1 more measure\n"
    assert command(settings.home, "import", "mlflow", str(store)).stdout.endswith(
        "1 imported: 1; 0 were here already.\n"
    )
    again = command(settings.home, "import", "mlflow", str(store))
    assert again.stdout.endswith("(here already as run 1)\n0 imported; 1 were here already.\n")
    with next(store.rglob("train/loss")).open("a") as loss, next(store.rglob("val_acc")).open("a") as accuracy:
        loss.write("1795559921934 0.4 2\n")
        accuracy.write("1795559921934 0.9 2\n")
    grown = command(settings.home, "import", "mlflow", str(store))
    assert grown.stdout.endswith(
        "(has grown, brings up to date run 1)\n0 imported; 1 brought up to date; 0 were here already.\n"
    )
    refused = command(settings.home, "import", "csv", str(tmp_path / "nothing.csv"))
    assert (refused.returncode, refused.stderr) == (
        1,
        "fitroom: nothing.csv cannot be read: No such file or directory.\n",
    )

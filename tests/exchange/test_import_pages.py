"""Past runs in the browser: uploaded or named by a path, looked at, imported; archives are not trusted."""

from __future__ import annotations

import io
import re
import stat
import zipfile
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import event
from starlette.testclient import TestClient
from torch.utils.tensorboard import SummaryWriter

from app.config import Settings
from app.exchange import arrivals
from app.exchange.past import ImportProblem
from app.main import create_app
from tests.exchange.test_importing import mlflow_database, mlflow_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CSV = b"name,lr,batch_size,val_acc,gpu\nold <b>run</b>,0.01,64,0.9,A100\n=cmd,0.02,32,0.8,A100\n"

TWO_EPOCHS = b"epoch,val_loss,val_acc\n1,0.5,0.1\n2,0.4,0.2\n"


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    with TestClient(create_app(Settings(home=tmp_path / "home", port=0)), base_url="http://localhost") as client:
        yield client


def zipped(folder: Path) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder.parent))
    return out.getvalue()


def upload(client: TestClient, name: str, content: bytes) -> str:
    """The address of the preview."""
    answer = client.post("/import", files={"files": (name, content)}, follow_redirects=False)
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def test_a_csv_is_shown_first_and_imported_once(client: TestClient):
    preview = upload(client, "old.csv", CSV)
    shown = client.get(preview).text
    assert "Import 2 runs" in shown
    assert "old &lt;b&gt;run&lt;/b&gt;" in shown
    assert "old.csv, line 2" in shown
    assert client.get("/api/v1/runs").json()["total"] == 0
    table = client.post(f"{preview}/confirm")
    assert table.url.path == "/runs"
    found = client.get("/api/v1/runs?filter=source = csv and lr > 0.01").json()["runs"]
    assert [(run["name"], run["val_accuracy"], run["source"]) for run in found] == [("=cmd", 0.8, "csv")]
    assert client.get(preview).status_code == 404
    again = client.get(upload(client, "old.csv", CSV)).text
    assert "2 are here already" in again
    assert "Import 0" not in again


def test_a_csv_that_has_grown_says_so_and_brings_its_run_up_to_date(client: TestClient):
    lines = [f"{epoch},{0.5 + epoch / 10}\n" for epoch in range(1, 5)]
    short, long = ("epoch,val_accuracy\n" + "".join(lines[:count]) for count in (2, 4))
    client.post(f"{upload(client, 'grows.csv', short.encode())}/confirm")
    client.patch("/api/v1/runs/1", json={"notes": "mine"})
    preview = upload(client, "grows.csv", long.encode())
    shown = client.get(preview).text
    assert "0 new runs; 1 is here and has grown: it is brought up to date" in shown
    assert "Bring 1 run up to date" in shown
    assert client.post(f"{preview}/confirm").url.path == "/runs/1"
    run = client.get("/api/v1/runs/1").json()
    assert (run["epochs_done"], run["best_val_accuracy"], run["notes"]) == (4, pytest.approx(0.9), "mine")
    assert client.get("/api/v1/runs").json()["total"] == 1


def test_what_was_discarded_is_gone(client: TestClient, tmp_path: Path):
    preview = upload(client, "old.csv", CSV)
    client.post(f"{preview}/discard")
    assert client.get(preview).status_code == 404
    assert list((tmp_path / "home" / "imports").iterdir()) == []


def test_a_zip_of_a_log_directory_and_of_mlruns_is_unpacked(client: TestClient, tmp_path: Path):
    with SummaryWriter(str(tmp_path / "logs" / "one")) as writer:
        writer.add_scalar("val_loss", 0.5, 0)
        writer.add_scalar("weights/norm", 2.5, 0)
    (run_page,) = [client.post(f"{upload(client, 'logs.zip', zipped(tmp_path / 'logs'))}/confirm")]
    assert re.fullmatch(r"/runs/\d+", run_page.url.path)
    assert "TensorBoard" in run_page.text
    assert "weights/norm" in run_page.text
    assert "Run again" not in run_page.text
    series = client.get(f"/api/v1{run_page.url.path}/series").json()
    assert series == [{"name": "weights/norm", "points": 1, "steps": [0], "values": [2.5]}]
    assert client.post(f"{upload(client, 'runs.zip', zipped(mlflow_files(tmp_path)))}/confirm").status_code == 200
    assert client.get("/api/v1/runs?filter=source = mlflow").json()["total"] == 1
    assert client.post(f"{upload(client, 'm.db', mlflow_database(tmp_path / 'm.db').read_bytes())}/confirm")
    assert client.get("/api/v1/runs?filter=source = mlflow").json()["total"] == 4


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("old.csv", b"lr,val_acc\n0.1,high\n", "old.csv, line 2: val_acc must be a number"),
        ("old.csv", b"\xff\xfe\x00", "old.csv is not text"),
        ("old.zip", b"PK\3\4 and nothing more", "old.zip cannot be unpacked"),
        ("events.out.tfevents.1", b"\0" * 40, "put event files into a .zip"),
        ("old.csv", b"", "empty"),
    ],
)
def test_what_cannot_be_read_is_told_at_the_field_and_nothing_stays(
    client: TestClient, tmp_path: Path, name: str, content: bytes, words: str
):
    answer = client.post("/import", files={"files": (name, content)})
    assert answer.status_code == 422
    error = re.search(r'id="error-files"[^>]*>([^<]*)', answer.text)
    assert error is not None
    assert words in error[1]
    assert list((tmp_path / "home" / "imports").iterdir()) == []


@pytest.mark.parametrize(
    "name",
    [
        "../out.tfevents",
        "/etc/out.tfevents",
        "a/../../out.tfevents",
        "..\\out.tfevents",
        "C:out.tfevents",
        "a/./b:c.db",
    ],
)
def test_an_archive_whose_names_lead_elsewhere_is_refused(tmp_path: Path, name: str):
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as content:
        content.writestr("fine/events.out.tfevents.1", b"x")
        content.writestr(name, b"x")
    with pytest.raises(ImportProblem, match="cannot be unpacked"):
        arrivals.unpack(archive, "a.zip", tmp_path / "here" / "unpacked")
    assert {path.name for path in tmp_path.rglob("*")} == {"a.zip", "here"}


def test_an_archive_with_a_link_is_refused(tmp_path: Path):
    archive, link = tmp_path / "a.zip", zipfile.ZipInfo("logs/events.out.tfevents.1")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(archive, "w") as content:
        content.writestr(link, "/etc/passwd")
    with pytest.raises(ImportProblem, match="is a link"):
        arrivals.unpack(archive, "a.zip", tmp_path / "unpacked")


def test_an_archive_that_grows_too_large_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(arrivals, "MOST_BYTES", 1 << 20)
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as content:
        content.writestr("events.out.tfevents.1", bytes(3 << 20))
    with pytest.raises(ImportProblem, match="larger than"):
        arrivals.unpack(archive, "a.zip", tmp_path / "unpacked")
    assert not (tmp_path / "unpacked").exists()


def test_the_artifacts_of_runs_are_not_unpacked(tmp_path: Path):
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as content:
        content.writestr("mlruns/1/abc/artifacts/model/metrics/weights.bin", b"x")
        content.writestr("mlruns/1/abc/metrics/loss", b"x")
    arrivals.unpack(archive, "a.zip", tmp_path / "unpacked")
    assert [path.name for path in (tmp_path / "unpacked").rglob("*") if path.is_file()] == ["loss"]


def test_a_path_of_this_machine_is_previewed_and_imported(client: TestClient, tmp_path: Path):
    form = {"kind": "mlflow", "path": str(mlflow_files(tmp_path))}
    shown = client.post("/import/path", data=form).text
    assert "Import 1 run<" in shown
    assert client.post("/import/path/confirm", data=form).url.path == "/runs/1"


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"kind": "mlflow", "path": "logs"}, "Must be a whole path"),
        ({"kind": "mlflow", "path": "/nowhere/at/all"}, "There is no /nowhere/at/all."),
        ({"kind": "wandb", "path": "/"}, "Must be one of tensorboard, mlflow, csv."),
        ({"kind": "csv", "path": "/" + "a" * 300}, "cannot be looked at: [Errno 36] File name too long"),
        (
            {"kind": "csv", "path": "~nobody-of-this-name/runs.csv"},
            "cannot be looked at: Could not determine home directory",
        ),
    ],
)
def test_a_path_that_is_none_is_told_at_its_field(client: TestClient, form: dict[str, str], words: str):
    answer = client.post("/import/path", data=form)
    assert answer.status_code == 422
    assert words in answer.text


def test_where_others_reach_the_server_no_path_can_be_named(tmp_path: Path):
    settings = Settings(home=tmp_path / "home", port=0, host="0.0.0.0", token="a secret of some length")
    with TestClient(create_app(settings), base_url="http://127.0.0.1") as client:
        client.headers["Authorization"] = "Bearer a secret of some length"
        assert "On this machine" not in client.get("/import").text
        answer = client.post("/import/path", data={"kind": "csv", "path": "/etc/passwd"})
    assert answer.status_code == 422
    assert "/etc/passwd:" not in answer.text


@pytest.mark.parametrize(
    "content",
    [
        b"name,lr,best_epoch,val_acc\na,0.1,nan,0.5\n",
        b"name,lr,epochs_done,val_acc\na,0.1,inf,0.5\n",
        b"name,lr,best_epoch,val_acc\na,0.1,1e300,0.5\n",
        b"name,lr,val_loss,val_acc\na,0.1,-inf,-inf\n",
        b"epoch,val_loss,val_acc\n1,1e308,1e308\n2,-1e308,-1e308\n",
    ],
    ids=["best epoch nan", "epochs inf", "best epoch 1e300", "accuracy -inf", "too large to be squared"],
)
def test_numbers_that_nothing_can_be_made_of_are_left_out_and_every_page_stands(client: TestClient, content: bytes):
    """One of them in the table would be an error on every page of it, for everybody."""
    assert client.post(f"{upload(client, 'old.csv', content)}/confirm").status_code == 200
    for path in ("/runs", "/runs?group=source&sort=-best_val_accuracy", "/compare?runs=1", "/api/v1/runs", "/runs/1"):
        assert client.get(path).status_code == 200, path


@pytest.mark.parametrize("x", ["epoch", "step", "time", "wall"])
def test_a_report_stands_over_every_axis_whatever_is_known_of_an_imported_run(client: TestClient, x: str):
    """How long it has trained is not."""
    client.post(f"{upload(client, 'old.csv', TWO_EPOCHS)}/confirm")
    for group in ("", "seeds"):
        answer = client.get(f"/compare/report?runs=1&x={x}&group={group}")
        assert answer.status_code == 200, group
        assert 'class="curves"' in answer.text


@pytest.mark.parametrize("when", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1e300", "nan", "soon"])
def test_an_instant_that_is_none_is_told_with_its_line(client: TestClient, when: str):
    content = f"name,lr,val_acc,created_at\na,0.1,0.5,{when}\n".encode()
    answer = client.post("/import", files={"files": ("old.csv", content)})
    assert answer.status_code == 422
    assert "old.csv, line 2: created_at must be an instant such as" in answer.text


@pytest.mark.parametrize("path", ["../../x", "%2e%2e", "a" * 22, "x"])
def test_an_import_that_is_not_there_is_a_404(client: TestClient, path: str):
    assert client.get(f"/import/{path}").status_code == 404
    assert client.post(f"/import/{path}/confirm").status_code == 404


def test_what_makes_no_sense_for_an_imported_run_is_refused_in_words(client: TestClient):
    client.post(f"{upload(client, 'old.csv', CSV)}/confirm")
    for method, path in (
        ("post", "/runs/1/again"),
        ("get", "/runs/new?from=1"),
        ("get", "/api/v1/runs/1/script"),
        ("get", "/runs/1/hard"),
    ):
        answer = client.request(method, path)
        assert answer.status_code == 409, path
        assert "was imported from CSV" in answer.text
    for path in ("/runs/1", "/runs/1/try", "/runs/1/delete", "/compare?runs=1&runs=2", "/runs"):
        assert client.get(path).status_code == 200, path
    for path in ("weights", "onnx", "predictions", "confusion"):
        assert client.get(f"/api/v1/runs/1/{path}").status_code in (404, 409), path


def test_settings_that_an_imported_run_does_not_tell_are_not_taken_for_defaults(client: TestClient):
    client.post(f"{upload(client, 'old.csv', CSV)}/confirm")
    own = client.post("/api/v1/runs", json={"lr": 0.01}).json()["id"]
    shown = client.get(f"/compare?runs=1&runs={own}").text
    assert "Optimizer" in shown
    assert client.get("/api/v1/runs?filter=optimizer = adam").json()["total"] == 1


def asked_of_the_database(client: TestClient, path: str) -> int:
    """How many statements a page takes."""
    asked = 0

    def count(*_: object) -> None:
        nonlocal asked
        asked += 1

    engine = client.app.state.fitroom.db._readers  # type: ignore[attr-defined]
    event.listen(engine, "before_cursor_execute", count)
    assert client.get(path).status_code == 200
    event.remove(engine, "before_cursor_execute", count)
    return asked


def test_pages_ask_the_database_as_often_for_much_as_for_little(client: TestClient):
    def history(name: str, runs: int, epochs: int) -> str:
        lines = [f"{name}{run},{epoch},{1 / epoch},2.5" for run in range(runs) for epoch in range(1, epochs + 1)]
        return upload(client, f"{name}.csv", "\n".join(["run,epoch,val_loss,weights/norm", *lines]).encode())

    small, large = history("small", 1, 2), history("large", 50, 40)
    assert asked_of_the_database(client, large) == asked_of_the_database(client, small) <= 4
    for preview in (small, large):
        client.post(f"{preview}/confirm")
    assert asked_of_the_database(client, "/runs/2") == asked_of_the_database(client, "/runs/1") <= 8

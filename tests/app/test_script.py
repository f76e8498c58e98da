"""A run as one plain script: it does what the run did, and stands on its own."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.looking.script import script
from app.models import Run
from trainer import sources
from trainer.config import OPTIONS, TrainConfig
from trainer.errors import ConfigError
from trainer.ingest import Choices, Upload, convert
from trainer.store import Store, export_npz

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from starlette.testclient import TestClient

    from app.config import Settings

    Printed = Callable[[str, Path], list[tuple[str, ...]]]

SMALL = {"train_size": 2048, "val_size": 1500, "epochs": 2, "batch_size": 128}
EVERYTHING = {
    **{"arch": "resnet", "resnet_width": 4, "normalize": True, "shift": 2, "flip": True, "rotate": 10.0, "erase": 0.3},
    **{"mix": "mixup", "class_weights": "balanced", "optimizer": "adamw", "schedule": "onecycle", "grad_clip": 1.0},
    **{"ema_decay": 0.99, "patience": 5, "label_smoothing": 0.1},
}
LINE = re.compile(r"epoch +(\d+)  training: loss (\S+), accuracy (\S+)  validation: loss (\S+), accuracy (\S+)  \S+ s")


FORKS = """
import json, os, runpy, sys, traceback
import numpy, pandas, torch, torchvision.datasets

for line in sys.stdin:
    folder, data = json.loads(line)
    child = os.fork()
    if child == 0:
        os.chdir(folder)
        for number, name in ((1, "printed"), (2, "errors")):
            os.dup2(os.open(name, os.O_CREAT | os.O_WRONLY), number)
        sys.argv = ["run.py", data]
        status = 1
        try:
            runpy.run_path("run.py", run_name="__main__")
            status = 0
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""An interpreter that knows nothing of Fitroom, and reads torch once for all the scripts that it runs in forks."""


@pytest.fixture(scope="module")
def interpreter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-I", "-c", FORKS]
    folder = tmp_path_factory.mktemp("interpreter")
    with subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


@pytest.fixture
def printed_by(interpreter: subprocess.Popen[str], tmp_path: Path) -> Printed:
    """What a script says of each epoch, run from a folder where there is no Fitroom."""

    def printed(text: str, data_dir: Path) -> list[tuple[str, ...]]:
        assert not re.search(r"^\s*(from|import) (trainer|app)\b", text, re.MULTILINE)
        (tmp_path / "run.py").write_text(text)
        assert interpreter.stdin is not None
        assert interpreter.stdout is not None
        interpreter.stdin.write(json.dumps([str(tmp_path), str(data_dir.resolve())]) + "\n")
        interpreter.stdin.flush()
        assert interpreter.stdout.readline() == "0\n", (tmp_path / "errors").read_text()
        return LINE.findall((tmp_path / "printed").read_text())

    return printed


def recorded(client: TestClient, run_id: int) -> list[tuple[str, ...]]:
    columns = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
    rows = client.get(f"/api/v1/runs/{run_id}/metrics").json()["epochs"]
    return [(str(row["epoch"]), *(f"{row[name]:.6f}" for name in columns)) for row in rows]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"precision": "float32"},
        EVERYTHING,
        {"loading": "dataloader", "num_workers": 1, "arch": "lenet", "optimizer": "rmsprop", "schedule": "step"},
        {
            **{"arch": "mlp", "mix": "cutmix", "class_weights": "1,1,1,1,1,1,1,2,3,4", "optimizer": "sgd"},
            **{"nesterov": True, "schedule": "cosine", "warmup_epochs": 0.5, "image_size": 20},
        },
    ],
    ids=["tutorial", "float32", "everything", "dataloader", "mlp"],
)
def test_the_script_prints_the_runs_own_numbers(
    client: TestClient, run_for_real: Callable[..., int], changes: dict[str, Any], printed_by: Printed, data_dir: Path
):
    run_id = run_for_real(**SMALL | changes)
    answer = client.get(f"/api/v1/runs/{run_id}/script")
    assert answer.headers["content-disposition"] == f'attachment; filename="run{run_id}.py"'
    assert printed_by(answer.text, data_dir) == recorded(client, run_id)


@pytest.mark.parametrize("with_validation", [True, False], ids=["two files", "one file"])
def test_the_script_reads_the_same_csv_files(
    client: TestClient,
    run_for_real: Callable[..., int],
    home_with_data: Settings,
    printed_by: Printed,
    data_dir: Path,
    with_validation: bool,
):
    for split, name in (("train", "fashion train.csv"), ("val", "fashion test.csv"))[: 1 + with_validation]:
        real = sources.load("fashion-mnist", split, data_dir)  # type: ignore[arg-type]
        path = home_with_data.data_dir / "csv" / "own" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            rows = csv.writer(file, delimiter=";")
            rows.writerow([*(f"pixel{number}" for number in range(784)), "label"])
            for image, label in zip(np.array(real.images[:600]), real.labels[:600].tolist(), strict=True):
                rows.writerow([*image.ravel().tolist(), label])
    run_id = run_for_real(dataset="csv:own", epochs=2, batch_size=64)
    text = client.get(f"/api/v1/runs/{run_id}/script").text
    assert printed_by(text, home_with_data.data_dir) == recorded(client, run_id)


def test_the_script_reads_a_data_set_as_it_is_downloaded(
    client: TestClient,
    run_for_real: Callable[..., int],
    home_with_data: Settings,
    printed_by: Printed,
    tmp_path: Path,
    data_dir: Path,
):
    real = sources.load("fashion-mnist", "train", data_dir)
    store = Store(home_with_data.data_dir)
    place = store.workplace()
    colour = np.repeat(np.array(real.images[:600]), 3, 3)
    np.savez(place / "a.npz", images=colour, labels=np.array(real.classes)[real.labels[:600]])
    convert([Upload(place / "a.npz", "a.npz")], Choices(), place / "out")
    kept = store.accept(place / "out", "own")
    run_id = run_for_real(dataset=kept.id, epochs=2, batch_size=64)
    text = client.get(f"/api/v1/runs/{run_id}/script").text
    with (tmp_path / kept.file).open("wb") as file:
        export_npz(kept, file)
    assert printed_by(text, tmp_path) == recorded(client, run_id)


def test_before_the_run_starts_there_is_no_script(client: TestClient):
    run_id = client.post("/api/v1/runs", json={}).json()["id"]
    answer = client.get(f"/api/v1/runs/{run_id}/script")
    assert answer.status_code == 409
    assert "comes when the run has started" in answer.json()["detail"]


def run_of(config: TrainConfig, **facts: str) -> Run:
    known = {"precision": "bfloat16", "device": "cpu"} | facts
    return Run(id=7, name="x", source="fitroom", config=config.to_dict(), facts=known)


def test_a_name_cannot_leave_its_comment(data_dir: Path):
    run = run_of(TrainConfig())
    run.name = 'a"""\nimport os\r\u2028\u202eos.abort()'
    found = [line for line in script(run, data_dir).splitlines() if "abort" in line]
    assert len(found) == 1
    assert found[0].startswith("# ")


def test_on_a_gpu_it_says_how_float32_is_multiplied(data_dir: Path):
    tf32 = script(run_of(TrainConfig(device="cuda:1"), precision="tf32", device="cuda:1"), data_dir)
    assert 'torch.backends.cuda.matmul.fp32_precision = "tf32"' in tf32
    assert 'DEVICE = torch.device("cuda:1")' in tf32
    assert "fp32_precision" not in script(run_of(TrainConfig()), data_dir)


def values(name: str) -> st.SearchStrategy[Any]:
    option = OPTIONS[name]
    if option.choices:
        return st.sampled_from([value for value, _ in option.choices])
    if option.kind == "boolean":
        return st.booleans()
    return st.sampled_from([option.default, *{"patience": [3], "grad_clip": [1.0]}.get(name, [])])


@given(chosen=st.fixed_dictionaries({name: values(name) for name in OPTIONS if name != "dataset"}), data=st.data())
@settings(max_examples=40, deadline=None)
def test_any_settings_make_a_script_that_linters_find_nothing_in(
    data_dir: Path, chosen: dict[str, Any], data: st.DataObject
):
    """Formatted as ruff does it, without an unused import or an unknown name."""
    for name, some in (("shift", 2), ("rotate", 5.0), ("erase", 0.5), ("warmup_epochs", 1.0), ("ema_decay", 0.9)):
        chosen[name] = some if data.draw(st.booleans(), name) else OPTIONS[name].default
    chosen["class_weights"] = data.draw(st.sampled_from([None, "balanced", "1,2,3,4,5,6,7,8,9,0"]))
    try:
        config = TrainConfig.from_dict(chosen)
    except ConfigError:
        return
    text = script(run_of(config), data_dir)
    for command in (["check", "--select", "E,F,I,B", "-"], ["format", "--check", "-"]):
        base = [f"{sys.prefix}/bin/ruff", command[0], "--isolated", "--line-length", "120", *command[1:]]
        done = subprocess.run(base, input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

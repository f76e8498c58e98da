"""What MLflow does of the comparison. Run by MLflow's own Python, so it knows nothing of Fitroom.

python mlflow_side.py load STORE < runs.jsonl      the same runs by `log_batch`, a thousand metrics at a time
python mlflow_side.py record STORE EPOCHS STEPS    a run's losses and epochs as a training would log them
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from mlflow.entities import Metric, Param
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

BATCH = 1000
"""The most that MLflow takes at once."""
EXPERIMENT = "compared"


def main() -> None:
    command, uri = sys.argv[1:3]
    store = SqlAlchemyStore(f"sqlite:///{uri}", f"{uri}-artifacts")
    found = store.get_experiment_by_name(EXPERIMENT)
    experiment = found.experiment_id if found else store.create_experiment(EXPERIMENT)
    if command == "load":
        print(json.dumps(load(store, experiment)))
    else:
        print(json.dumps(record(store, experiment, *map(int, sys.argv[3:6]))))


def load(store: Any, experiment: str) -> dict[str, Any]:
    count = 0
    for line in sys.stdin:
        told = json.loads(line)
        run = store.create_run(experiment, "bench", told["start_ms"], [], told["name"])
        params = [Param(name, str(value)) for name, value in told["params"].items()]
        store.log_batch(run.info.run_id, [], params, [])
        metrics = [Metric(*point) for point in told["metrics"]]
        for start in range(0, len(metrics), BATCH):
            store.log_batch(run.info.run_id, metrics[start : start + BATCH], [], [])
        store.update_run_info(run.info.run_id, 3, told["start_ms"] + 1000, told["name"])
        count += 1
    return {"experiment": experiment, "runs": count}


def record(store: Any, experiment: str, epochs: int, steps: int, block: int) -> dict[str, float]:
    run = store.create_run(experiment, "bench", 0, [], "recorded").info.run_id
    begun, written = time.perf_counter(), 0
    for epoch in range(1, epochs + 1):
        now = int(time.time() * 1000)
        first = (epoch - 1) * steps
        for begin in range(0, steps, block):
            some = range(first + begin, first + min(begin + block, steps))
            losses = [Metric("step_loss", 1 / (step + 1), now, step) for step in some]
            store.log_batch(run, losses, [], [])
            written += len(losses)
        names = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr")
        store.log_batch(run, [Metric(name, 1 / epoch, now, epoch) for name in names], [], [])
        written += len(names)
    return {"metrics": written, "seconds": time.perf_counter() - begun}


if __name__ == "__main__":
    main()

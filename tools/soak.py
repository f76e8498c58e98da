"""Kill workers and servers at random while many runs train, and see whether anything is lost: `make soak`.

Tiny runs are queued for several workers under a real server. Again and again something happens to a worker in the
middle of a run, or to the server: SIGKILL, SIGTERM, or a freeze longer than the lease. Every epoch that was ever seen
in the database must stay there with the same numbers, whatever comes. At the end, when all runs are over:

- `PRAGMA integrity_check` and `PRAGMA foreign_key_check` find nothing
- every run has finished, with each of its epochs once and each of its steps once
- no process is left over

Then, undisturbed, workers share a long queue of tiny runs, and each must have been done exactly once.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from app.config import ROOT
from app.supervisor import workers_of
from app.workers import pid_of
from benchmarks.revision import revision
from tools import server as servers
from tools.server import Server

TINY = {"train_size": 512, "val_size": 200, "batch_size": 128}
STEPS = 4
LEASE_S = 2.0
KINDS = {"worker killed": 70, "worker terminated": 12, "worker frozen": 8, "server killed": 10}
"""What happens, and how often of a hundred times."""
Epochs = dict[tuple[int, int], tuple[float, ...]]


@dataclass
class Soak:
    """One soak in a home of its own."""

    home: Path
    data_dir: Path
    workers: int
    seed: int = 0
    did: Counter[str] = field(default_factory=Counter)
    committed: Epochs = field(default_factory=dict)
    submitted: int = 0

    def run(self, kills: int) -> dict[str, object]:
        """Raises AssertionError as soon as something is lost."""
        self.random = random.Random(self.seed)
        begun = time.monotonic()
        self.server = self._start()
        try:
            for _ in range(kills):
                self._keep_busy()
                kind = self.random.choices(list(KINDS), list(KINDS.values()))[0]
                # Anywhere within a run: it takes about a second.
                time.sleep(self.random.uniform(0, 1))
                self._do(kind)
                self.did[kind] += 1
                self._look()
            self._until(self._all_over, "all runs are over", within=60 + 20 * self.submitted)
            self._look()
        finally:
            servers.stop(self.server, signal.SIGTERM)
        return self._verdict() | {"seconds": round(time.monotonic() - begun)}

    def share(self, number: int) -> dict[str, object]:
        """So many runs for all workers, and nothing happens to them. Raises AssertionError unless each is done once."""
        with servers.serving(self.home, self.data_dir, workers=str(self.workers)) as server:
            for seed in range(number):
                server.submit(**TINY, epochs=1, seed=seed)
            self._until(self._all_over, "all runs are over", within=60 + 5 * number)
        counts = self._query("SELECT status, attempt, times_lost, epochs_done, count(*) FROM runs GROUP BY 1, 2, 3, 4")
        assert counts == [("finished", 1, 0, 1, number)], counts
        sharers = self._query("SELECT count(DISTINCT json_extract(data, '$.message')) FROM changes "
                              "WHERE kind = 'log' AND json_extract(data, '$.message') LIKE 'Taken by %'")  # fmt: skip
        return {
            f"runs shared by {self.workers} workers, each done once": number,
            "workers that took some": sharers[0][0],
        }

    def _start(self) -> Server:
        return servers.start(
            self.home, self.data_dir, workers=str(self.workers), lease_s=str(LEASE_S), max_attempts="100"
        )

    def _keep_busy(self) -> None:
        (waiting,) = self._query("SELECT count(*) FROM runs WHERE status IN ('queued', 'running')")[0]
        for _ in range(2 * self.workers - waiting):
            self.server.submit(**TINY, epochs=self.random.randint(2, 6), seed=self.random.randint(0, 1000))
            self.submitted += 1

    def _do(self, kind: str) -> None:
        if kind == "server killed":
            self.server.process.kill()
            servers.stop(self.server)
            self.server = self._start()
            return
        pid = self._a_worker_that_trains()
        number = {"worker killed": signal.SIGKILL, "worker terminated": signal.SIGTERM}.get(kind, signal.SIGSTOP)
        try:
            os.kill(pid, number)
            if number == signal.SIGSTOP:
                time.sleep(1.5 * LEASE_S)
                os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            self.did["(it had just ended)"] += 1

    def _a_worker_that_trains(self) -> int:
        found: list[int] = []

        def look() -> bool:
            self._keep_busy()
            names = [name for (name,) in self._query("SELECT worker FROM runs WHERE status = 'running'")]
            found[:] = [pid for name in names if (pid := pid_of(name)) and psutil.pid_exists(pid)]
            return bool(found)

        self._until(look, "some worker trains")
        return self.random.choice(found)

    def _look(self) -> None:
        """What is committed now, beside all that ever was."""
        rows = self._query("SELECT run_id, epoch, train_loss, train_accuracy, val_loss, val_accuracy FROM epochs")
        now: Epochs = {(run_id, epoch): tuple(values) for run_id, epoch, *values in rows}
        assert len(now) == len(rows), "an epoch is there twice"
        for key, values in self.committed.items():
            assert now.get(key) == values, f"epoch {key} was {values} and is {now.get(key)}"
        self.committed = now

    def _verdict(self) -> dict[str, object]:
        integrity = [row[0] for row in self._query("PRAGMA integrity_check")]
        broken_keys = self._query("PRAGMA foreign_key_check")
        assert integrity == ["ok"], integrity
        assert broken_keys == []
        runs = self._query("SELECT id, status, json_extract(config, '$.epochs'), attempt, times_lost FROM runs")
        assert {status for _, status, *_ in runs} == {"finished"}, Counter(status for _, status, *_ in runs)
        for run_id, _, epochs, _, _ in runs:
            assert sorted(epoch for run, epoch in self.committed if run == run_id) == list(range(1, epochs + 1))
            blocks = self._query("SELECT first_step, length(losses) / 4 FROM step_blocks WHERE run_id = ?", run_id)
            steps = sorted(first + place for first, length in blocks for place in range(length))
            assert steps == list(range(epochs * STEPS)), f"run {run_id} has the steps {steps}"
        assert workers_of(self.home) == [], "workers are left over"
        assert not list((self.home / "runs").rglob("*.part")), "half-written files are left over"
        return {
            **dict(self.did),
            "runs, all finished": len(runs),
            "attempts": sum(attempt for *_, attempt, _ in runs),
            "workers lost by runs": sum(lost for *_, lost in runs),
            "epochs committed, none lost, none twice": len(self.committed),
            "integrity_check": integrity[0],
            "foreign_key_check": "ok",
        }

    def _all_over(self) -> bool:
        (left,) = self._query("SELECT count(*) FROM runs WHERE status IN ('queued', 'running')")[0]
        return bool(left == 0)

    def _query(self, sql: str, *values: object) -> list[Any]:
        with closing(sqlite3.connect(self.home / "fitroom.db", timeout=30)) as connection:
            return connection.execute(sql, values).fetchall()

    def _until(self, true: Callable[[], bool], what: str, within: float = 300) -> None:
        deadline = time.monotonic() + within
        while not true():
            assert time.monotonic() < deadline, f"over {within:.0f} s until {what}"
            time.sleep(0.05)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--runs", type=int, default=1000, help="in the shared queue")
    parser.add_argument("--sharers", type=int, default=8, help="workers that share it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data-dir", type=Path, default=ROOT / "var" / "data")
    parser.add_argument("--out", type=Path, help="write the counts there as Markdown too")
    arguments = parser.parse_args()
    # Several train at once, and what they train is tiny: more threads would only wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory(prefix="fitroom-soak-") as folder:
        soak = Soak(Path(folder) / "home", arguments.data_dir, arguments.workers, arguments.seed)
        counts = soak.run(arguments.kills)
        counts |= Soak(Path(folder) / "shared", arguments.data_dir, arguments.sharers).share(arguments.runs)
    lines = [f"| {what} | {count} |" for what, count in counts.items()]
    print("\n".join(lines))
    if arguments.out:
        head = f"`python -m tools.soak --kills {arguments.kills} --workers {arguments.workers}`, revision {revision()}"
        arguments.out.write_text("\n".join(["# Soak", "", head, "", "| what | count |", "|---|---|", *lines, ""]))


if __name__ == "__main__":
    main()

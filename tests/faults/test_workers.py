"""Workers that are killed, stopped, frozen or crash: every run goes on as if nothing had happened, or says why not."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest
from sqlalchemy import select

from app.config import ROOT
from app.models import Change, Epoch
from app.workers import name_of
from tests.faults.zygote import wait_until
from tools.server import environment

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.conftest import Home

Curve = list[tuple[object, ...]]


@pytest.mark.parametrize(
    ("fault", "epochs"),
    [
        ("at-step kill 10", 2),
        ("in-checkpoint 2", 2),
        ("before-checkpoint 2", 2),
        ("after-rename 2", 2),
    ],
    ids=["in mid-epoch", "in mid-checkpoint", "before the checkpoint", "between the checkpoint's rename and its row"],
)
def test_a_killed_workers_run_goes_on_to_the_same_end(home: Home, undisturbed: Curve, fault: str, epochs: int):
    run_id = home.submit()
    killed = home.worker(fault)
    assert killed.wait() == -signal.SIGKILL
    committed = home.curve(run_id)[:epochs]
    assert committed == undisturbed[:epochs], "every epoch that was committed is there after the crash"
    home.free(killed)
    home.work_off()
    run = home.run(run_id)
    assert (run.status, run.attempt, run.times_lost) == ("finished", 2, 1)
    assert home.curve(run_id) == undisturbed, "a replay changes nothing, and nothing is there twice"
    assert not list((home.path / "runs" / str(run_id)).glob("*.part"))


@pytest.mark.parametrize("step", [2, 10])
def test_sigterm_finishes_the_step_saves_within_the_epoch_and_gives_the_run_back(
    home: Home, undisturbed: Curve, step: int
):
    """Five of them at once do no more than one."""
    run_id = home.submit()
    assert home.worker(f"at-step term {step}").wait() == 0
    run = home.run(run_id)
    assert (run.status, run.worker, run.times_lost) == ("queued", None, 0)
    assert f"Saved within epoch {1 + step // 4}, after {step % 4} of its steps." in home.log(run_id)
    home.work_off()
    assert f"Resuming in epoch {1 + step // 4}, after {step % 4} of its steps." in home.log(run_id)
    assert home.curve(run_id) == undisturbed


def test_sigterm_while_a_worker_starts_ends_it_at_once(tmp_path: Path):
    command = [sys.executable, "-m", "app", "worker"]
    with subprocess.Popen(command, cwd=ROOT, env=environment(tmp_path)) as process:
        wait_until(lambda: catches(process.pid, signal.SIGTERM), "it catches SIGTERM")
        process.terminate()
        assert process.wait(30) == 0


def catches(pid: int, number: signal.Signals) -> bool:
    with open(f"/proc/{pid}/status") as file:  # noqa: PTH123 - no file of ours
        caught = next(line for line in file if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


@pytest.mark.parametrize(("crash", "status"), [("exit", 1), ("segfault", -signal.SIGSEGV)])
def test_a_run_that_always_crashes_its_worker_fails_in_the_end_and_others_go_on(home: Home, crash: str, status: int):
    doomed, other = home.submit(), home.submit(seed=1, epochs=1)
    for _ in range(2):
        crashed = home.worker(f"at-step {crash} 2")
        assert crashed.wait() == status
        home.free(crashed, max_attempts=2)
    home.work_off(f"at-step {crash} 2")
    run = home.run(doomed)
    assert (run.status, run.reason) == ("failed", "worker_lost")
    assert run.message == "Its worker was lost 2 times, so it is not tried again."
    assert home.run(other).status == "finished"


def test_a_frozen_worker_that_wakes_after_its_lease_writes_nothing_more(home: Home):
    run_id = home.submit(epochs=2000)
    frozen = home.worker()
    home.wait_for_epoch(run_id, 1)
    frozen.send(signal.SIGSTOP)
    home.worker()
    wait_until(lambda: home.run(run_id).attempt == 2, "another worker takes the run")
    seen = home.run(run_id).epochs_done
    frozen.send(signal.SIGCONT)
    frozen.wait_for_log("lost the claim; wrote nothing more")
    home.wait_for_epoch(run_id, seen + 2)
    with home.db.read() as session:
        taken = session.scalars(
            select(Change.id).where(Change.kind == "log", Change.data["message"].as_string().like("%attempt 2.%"))
        ).one()
        after = select(Change.ref).where(Change.kind == "epoch", Change.id > taken)
        writers = set(session.scalars(select(Epoch.attempt).where(Epoch.epoch.in_(after))))
    assert writers == {2}
    run = home.run(run_id)
    assert (run.attempt, run.times_lost, run.status) == (2, 1, "running")


def test_an_epoch_longer_than_the_lease_is_not_taken_away_nor_a_worker_that_takes_long_to_stop(home: Home):
    run_id = home.submit(epochs=2)
    owner = home.worker("slow 0.6")
    wait_until(lambda: home.run(run_id).worker == name_of(owner.pid), "the slow worker has it")
    idle = home.worker()
    home.wait_for_epoch(run_id, 1)
    assert home.run(run_id).attempt == 1
    owner.send(signal.SIGTERM)
    assert owner.wait() == 0
    run = home.wait_for(run_id, "finished")
    assert (run.attempt, run.times_lost) == (2, 0)
    assert "The worker was stopped; the run waits to be resumed." in home.log(run_id)
    assert psutil.pid_exists(idle.pid)


def test_what_a_worker_has_started_does_not_outlive_it(home: Home):
    run_id = home.submit(loading="dataloader", num_workers=1, epochs=500)
    worker = home.worker()
    home.wait_for_epoch(run_id, 1)
    children = psutil.Process(worker.pid).children(recursive=True)
    assert len(children) >= 3, "a reader and the processes that start and track it"
    worker.send(signal.SIGKILL)
    worker.wait()
    assert psutil.wait_procs(children, timeout=30)[1] == []


def test_the_processes_that_share_a_run_do_not_outlive_its_worker(home: Home):
    run_id = home.submit(processes=2, epochs=5000)
    worker = home.worker()
    home.wait_for_epoch(run_id, 1)
    children = psutil.Process(worker.pid).children(recursive=True)
    assert len(children) >= 3, "torchrun and the two that it started"
    worker.send(signal.SIGKILL)
    worker.wait()
    assert psutil.wait_procs(children, timeout=60)[1] == []


def test_four_workers_do_each_of_many_runs_exactly_once(home: Home):
    ids = [home.submit() for _ in range(60)]
    workers = [home.worker("untrained", until_idle=True, lease_s="30") for _ in range(4)]
    assert [worker.wait() for worker in workers] == [0] * 4
    runs = [home.run(run_id) for run_id in ids]
    assert {(run.status, run.attempt, run.epochs_done) for run in runs} == {("finished", 1, 1)}
    takers = [line for run_id in ids for line in home.log(run_id).splitlines() if line.startswith("Taken by")]
    assert len(takers) == 60

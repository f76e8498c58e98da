"""One run in several processes that share each batch: `DistributedDataParallel`, started by torchrun.

`train` here is the parent: it starts torchrun and passes on what the first process tells. The processes are this
module run as a program; each takes its part of every batch, and gradients are averaged, so the same global batch
gives the same curve as one process would, up to the order of additions. BatchNorm takes its statistics from the whole
batch (`trainer.batch_norm`). GPUs talk by NCCL, CPUs by gloo.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from trainer import devices
from trainer.batch_norm import share_statistics
from trainer.config import TrainConfig
from trainer.errors import DeviceError, ProcessLost, TrainerError, from_json, to_json
from trainer.events import Event, Finished

ShouldStop = Callable[[], bool]

AGREE_EVERY = 8
"""Steps between two messages of the first process to the others, on whether to stop or to read losses."""
LOOK_S = 0.1
GRACE_S = 10.0
_ROOT = Path(__file__).resolve().parent.parent
_STOP = "stop"


def train(config: TrainConfig, *, data_dir: Path, run_dir: Path | None, should_stop: ShouldStop) -> Iterator[Event]:
    """As `trainer.loop.train`, in `config.processes` processes. Raises what they raised, or `ProcessLost`."""
    device = devices.resolve(config.device)
    first = device.index or 0
    if device.type == "cuda" and first + config.processes > torch.cuda.device_count():
        raise DeviceError(
            f"{config.processes} processes from {device} on need as many GPUs; "
            f"this machine has {torch.cuda.device_count()}. Fewer processes, or the CPU, would do."
        )
    with tempfile.TemporaryDirectory(prefix="fitroom-") as folder:
        task = {
            "config": config.to_dict(),
            "device": device.type,
            "first": first,
            "data_dir": str(data_dir.absolute()),
            "run_dir": str(run_dir.absolute()) if run_dir else None,
        }
        (Path(folder) / "task.json").write_text(json.dumps(task))
        with _listening(Path(folder)) as listener, _torchrun(Path(folder), config.processes) as process:
            connection = _accepted(listener, process, Path(folder), should_stop)
            if connection is None:
                yield Finished("stopped", 0, 0.0)
                return
            with connection:
                yield from _passed_on(connection, process, Path(folder), should_stop)


def _passed_on(
    connection: Connection, process: subprocess.Popen[bytes], folder: Path, should_stop: ShouldStop
) -> Iterator[Event]:
    told = False
    while True:
        if not told and should_stop():
            with contextlib.suppress(OSError):  # it has ended: what follows tells why
                connection.send(_STOP)
            told = True
        if not connection.poll(LOOK_S):
            continue
        try:
            message = connection.recv()
        except (EOFError, OSError):
            raise _lost(process, folder) from None
        if isinstance(message, TrainerError):
            raise message
        yield message
        if isinstance(message, Finished):
            return


@contextlib.contextmanager
def _listening(folder: Path) -> Iterator[socket.socket]:
    """A socket in a folder that only this user may enter."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "events"))
        listener.listen(1)
        listener.settimeout(LOOK_S)
        yield listener


@contextlib.contextmanager
def _torchrun(folder: Path, processes: int) -> Iterator[subprocess.Popen[bytes]]:
    """torchrun with its processes; all have ended when this is left."""
    threads = max(1, torch.get_num_threads() // processes)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "-m", "trainer.distributed", str(folder)],
            cwd=_ROOT,
            env=os.environ | {"OMP_NUM_THREADS": str(threads)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            yield process
            # After the last event the processes end by themselves.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_S)
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """torchrun, asked to end, ends its processes; without it they end when their parent's socket closes."""
    if process.poll() is not None:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)
            return


def _accepted(
    listener: socket.socket, process: subprocess.Popen[bytes], folder: Path, should_stop: ShouldStop
) -> Connection | None:
    """The first process's connection; None when the run was stopped before it came."""
    while True:
        with contextlib.suppress(TimeoutError):
            accepted, _ = listener.accept()
            return Connection(accepted.detach())
        if process.poll() is not None:
            raise _lost(process, folder)
        if should_stop():
            return None


def _lost(process: subprocess.Popen[bytes], folder: Path) -> TrainerError:
    """What one of the processes but the first left behind as its reason, or else what the log has."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_S)
    for left in sorted(folder.glob("error-*")):
        return from_json(left.read_text())
    lines = (folder / "log").read_text(errors="replace").strip().splitlines()
    said = next((line.strip() for line in reversed(lines) if "Error" in line), lines[-1] if lines else "no word")
    return ProcessLost(f"A training process ended unexpectedly: {said[:300]}")


class Ranks:
    """This process among those that torchrun started."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.rank, self.size = dist.get_rank(), dist.get_world_size()

    def wrap(self, model: nn.Module) -> nn.Module:
        share_statistics(model, self._device)
        ids = [self._device] if self._device.type == "cuda" else None
        # The statistics of BatchNorm are the same everywhere already.
        return DistributedDataParallel(model, device_ids=ids, broadcast_buffers=False)

    def sum(self, tensor: Tensor) -> Tensor:
        dist.all_reduce(tensor)
        return tensor

    def decide(self, step: int, *, stop: ShouldStop, read: ShouldStop) -> tuple[bool, bool]:
        if step % AGREE_EVERY:
            return False, False
        # On the CPU, by gloo: asking a GPU would make the host wait for it.
        decision = torch.tensor([stop(), read()] if self.rank == 0 else [False, False])
        dist.broadcast(decision, src=0)
        stopping, reading = decision.tolist()
        return stopping, reading


def main(folder: Path) -> None:
    """One of the processes: train, and if it is the first, tell the parent."""
    from trainer.loop import follow, never

    task = json.loads((folder / "task.json").read_text())
    place = int(os.environ["LOCAL_RANK"])
    device = torch.device("cpu")
    if task["device"] == "cuda":
        device = torch.device("cuda", task["first"] + place)
        torch.cuda.set_device(device)
    parent = _Parent(folder) if place == 0 else None
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    try:
        events = follow(
            TrainConfig.from_dict(task["config"]),
            device,
            Ranks(device),
            data_dir=Path(task["data_dir"]),
            run_dir=Path(task["run_dir"]) if task["run_dir"] else None,
            should_stop=parent.should_stop if parent else never,
        )
        for event in events:
            if parent:
                parent.tell(event)
    except TrainerError as error:
        if parent:
            parent.tell(error)
        else:
            # It may be this process's alone, a GPU that is full say. The others would wait for it; torchrun ends them.
            part = folder / f"part-{place}"
            part.write_text(to_json(error))
            part.rename(folder / f"error-{place}")
            raise
    dist.destroy_process_group()


class _Parent:
    """The way to the process that started all this; when it is gone, training stops."""

    def __init__(self, folder: Path) -> None:
        connected = socket.socket(socket.AF_UNIX)
        connected.connect(str(folder / "events"))
        self._connection = Connection(connected.detach())
        self._stop = False

    def should_stop(self) -> bool:
        if not self._stop and self._connection.poll():
            # The one message there is, or the end of the connection: both mean the same.
            self._stop = True
        return self._stop

    def tell(self, message: Any) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._connection.send(message)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

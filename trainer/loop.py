"""`train`: a `TrainConfig` becomes a stream of events.

    for event in train(TrainConfig(epochs=2), data_dir=Path("var/data")):
        print(event)

Nothing here waits for the device within an epoch but the reading of losses, once a second.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from trainer import checkpoint, describe, devices
from trainer.checkpoint import Progress, Resumed, Within
from trainer.config import TrainConfig
from trainer.data import Loaded, Part, open_split
from trainer.errors import CheckpointError, ConfigError, Diverged, OutOfMemory
from trainer.events import CheckpointFailed, CheckpointSaved, EpochDone, Event, Finished, Started, Steps, Timings
from trainer.graphs import CudaGraphs
from trainer.group import Alone, Group
from trainer.learner import Learner
from trainer.schedule import lr_at

READ_LOSSES_S = 1.0
"""Seconds between two readings of the losses; each makes the host wait for the device, and a row be written."""
ShouldStop = Callable[[], bool]


def never() -> bool:
    return False


def train(
    config: TrainConfig, *, data_dir: Path, run_dir: Path | None = None, should_stop: ShouldStop = never
) -> Iterator[Event]:
    """Train as `config` says, telling what happens as it happens; the last event is `Finished`.

    With `run_dir` the state is saved there after each epoch, and when the run is stopped within one. A run that finds
    such a state goes on from it: on a CPU bit for bit as if it had never stopped. (Several processes that share a run
    go on from its last whole epoch.) `should_stop` is asked at every step and should be cheap; it is asked a last time
    before a new state takes the place of the old, so that by raising it can keep a run that has lost its right to the
    folder from writing there.

    Raises a `TrainerError` (see trainer.errors) where training cannot start or go on.
    """
    if config.processes > 1:
        from trainer import distributed

        yield from distributed.train(config, data_dir=data_dir, run_dir=run_dir, should_stop=should_stop)
    else:
        device = devices.resolve(config.device)
        if config.cuda_graphs and device.type != "cuda":
            raise ConfigError({"cuda_graphs": "Needs a GPU, and there is none on this machine."})
        if device.type == "cuda":
            torch.cuda.set_device(device)  # torch's own threads would take the first one, and memory there
        yield from follow(config, device, Alone(), data_dir=data_dir, run_dir=run_dir, should_stop=should_stop)


def follow(
    config: TrainConfig,
    device: torch.device,
    group: Group,
    *,
    data_dir: Path,
    run_dir: Path | None,
    should_stop: ShouldStop,
) -> Iterator[Event]:
    """`train` as one process of `group` sees it; every process tells all events but `CheckpointSaved`."""
    try:
        run = _Run(config, device, group, data_dir, run_dir, should_stop)
        try:
            yield from run.events()
        finally:
            run.close()
    except RuntimeError as error:
        if not devices.out_of_memory(error):
            raise
        raise OutOfMemory(
            f"The device ran out of memory ({str(error).partition('. ')[0]}). "
            "A smaller batch size or image size needs less."
        ) from error


class _Run:
    """One run from start, or from where its checkpoint left it, to its end."""

    def __init__(
        self,
        config: TrainConfig,
        device: torch.device,
        group: Group,
        data_dir: Path,
        run_dir: Path | None,
        should_stop: ShouldStop,
    ) -> None:
        self._begun = time.perf_counter()
        self._config, self._device, self._group = config, device, group
        self._run_dir, self._should_stop = run_dir, should_stop
        part = Part(group.rank, group.size)
        self._train_set = open_split(config, "train", data_dir, device, part)
        self._val_set = open_split(config, "val", data_dir, device, part)
        recorder = CudaGraphs(device) if config.cuda_graphs else None
        self._learner = Learner(config, self._train_set, device, group, recorder)
        describe.check_batch(config, self._learner.shape)
        self._resumed = (
            checkpoint.resume(run_dir, config, self._learner, self._train_set.classes)
            if run_dir
            else Resumed(Progress())
        )
        if self._resumed.within and group.size > 1:
            raise CheckpointError(
                f"The run in {run_dir} was stopped within an epoch, which one process alone can go on with."
            )
        self._progress = self._resumed.progress
        self._last_is_good = self._resumed.warning is None

    def events(self) -> Iterator[Event]:
        yield self._started()
        within = self._resumed.within
        for epoch in range(self._progress.epoch + 1, self._config.epochs + 1):
            if self._progress.without_better >= (self._config.patience or math.inf):
                yield self._finished("early", epoch - 1)
                return
            done = yield from self._epoch(epoch, within)
            if isinstance(done, _Stopped):
                if self._run_dir and done.within:
                    yield self._save(self._run_dir, done.within)
                yield self._finished("stopped", epoch - 1)
                return
            within = None
            _check_validated(done, self._config)
            yield done
            before, self._progress = self._progress, self._progress.after(epoch, done.val_accuracy)
            if self._run_dir and self._group.rank == 0:
                saved = self._save(self._run_dir)
                if isinstance(saved, CheckpointFailed):
                    # The best is what is kept of the best; the next that is better than that takes its place.
                    self._progress = replace(before, epoch=epoch)
                yield saved
        yield self._finished("completed", self._progress.epoch)

    def close(self) -> None:
        self._train_set.close()
        self._val_set.close()

    def _epoch(self, epoch: int, within: Within | None) -> Generator[Steps, None, EpochDone | _Stopped]:
        """Train and validate once, going on from `within`."""
        watch = _Watch(within.spent if within else {})
        trained = yield from self._pass(epoch, watch, within)
        train_seconds = watch.total
        if isinstance(trained, _Stopped):
            return trained
        # Processes that share a run must not part ways: only one alone may stop half-way here.
        validated = self._learner.validate(self._val_set, self._should_stop if self._group.size == 1 else never)
        if validated is None:
            return self._stopped(trained, watch)
        watch.lap("validation")
        val_loss, val_accuracy, predictions = validated
        steps = self._learner.steps_per_epoch
        return EpochDone(
            epoch=epoch,
            # All batches are equally large, so the mean of their means is the mean over the images seen.
            train_loss=math.fsum(trained.losses) / steps,
            train_accuracy=float(trained.correct) / (steps * self._config.batch_size),
            val_loss=val_loss,
            val_accuracy=val_accuracy,
            lr=lr_at(self._config, epoch * steps - 1, steps),
            seconds=watch.total,
            train_seconds=train_seconds,
            images_per_s=steps * self._config.batch_size / train_seconds,
            finished_at=time.time(),
            timings=watch.timings(),
            predictions=predictions,
        )

    def _pass(self, epoch: int, watch: _Watch, within: Within | None) -> Generator[Steps, None, _Tally | _Stopped]:
        """Once over the training images, or over those that are left after `within`."""
        learner, group = self._learner, self._group
        steps, begin = learner.steps_per_epoch, within.steps if within else 0
        first = (epoch - 1) * steps
        learner.start_epoch(epoch, steps=begin, correct=within.correct if within else 0.0)
        tally = _Tally([], learner.correct)
        if within:
            learner.load_random(within.random)
            tally.losses += within.losses
            yield Steps(epoch, first, tuple(within.losses))
            watch.lap("recording")
        read_at = time.perf_counter()

        def due() -> bool:
            return time.perf_counter() - read_at >= READ_LOSSES_S

        for place, inputs in enumerate(self._train_set.train_inputs(epoch, skip=begin), begin):
            watch.lap("data")
            stop, read = group.decide(place, stop=self._should_stop, read=due)
            if not stop:
                learner.step(inputs, first + place)
                if not read and place < steps - 1:
                    watch.lap("compute")
                    continue
            told, done = len(tally.losses), place if stop else place + 1
            if done > told:
                # One transfer for all losses since the last: this is where the host waits for the device.
                block = Steps(epoch, first + told, tuple(group.sum(learner.losses[told:done]).tolist()))
                tally.losses += block.losses
                watch.lap("compute")
                yield block
                watch.lap("recording")
                _check_finite(block, self._config)
            if stop:
                return self._stopped(tally, watch) if place > begin else _Stopped(None)
            read_at = time.perf_counter()
        group.sum(tally.correct)
        return tally

    def _stopped(self, tally: _Tally, watch: _Watch) -> _Stopped:
        """What is to be saved of an epoch that is not whole; the draws of several processes are not gathered."""
        if self._group.size > 1:
            return _Stopped(None)
        random = self._learner.random_state()
        return _Stopped(Within(len(tally.losses), tally.losses, float(tally.correct), watch.spent, random))

    def _started(self) -> Started:
        config, device, learner = self._config, self._device, self._learner
        return Started(
            device=str(device),
            device_name=devices.name_of(device),
            threads=torch.get_num_threads(),
            parameters=sum(weight.numel() for weight in learner.model.parameters() if weight.requires_grad),
            classes=self._train_set.classes,
            train_samples=self._train_set.samples,
            val_samples=self._val_set.samples,
            steps_per_epoch=learner.steps_per_epoch,
            epochs_before=self._progress.epoch,
            loading="dataloader" if isinstance(self._train_set, Loaded) else "resident",
            precision=learner.precision,
            processes=self._group.size,
            flops_per_image=describe.training_flops(config, learner.shape),
            matmul_flops_per_s=devices.matmul_rate(device, learner.precision) * self._group.size,
            seconds=time.perf_counter() - self._begun,
            steps_before=self._resumed.within.steps if self._resumed.within else 0,
            warning=self._resumed.warning,
        )

    def _finished(self, reason: Literal["completed", "early", "stopped"], epochs: int) -> Finished:
        if self._run_dir and self._group.rank == 0:
            checkpoint.tidy(self._run_dir)
        return Finished(reason, epochs, time.perf_counter() - self._begun)

    def _save(self, run_dir: Path, within: Within | None = None) -> CheckpointSaved | CheckpointFailed:
        """A full disk is no reason to throw away what has been learned: it is told, and tried again next time."""
        begun, progress = time.perf_counter(), self._progress
        try:
            path = checkpoint.save(
                run_dir, self._config, self._learner, progress, self._train_set.classes,
                within=within, keep_last=self._last_is_good, still_ours=self._should_stop,
            )  # fmt: skip
            size = path.stat().st_size
        except OSError as error:
            return CheckpointFailed(progress.epoch, f"The state could not be saved in {run_dir}: {error.strerror}.")
        self._last_is_good = True
        best = within is None and progress.best_epoch == progress.epoch
        steps = within.steps if within else 0
        return CheckpointSaved(progress.epoch, str(path), size, time.perf_counter() - begun, best, steps)


@dataclass(slots=True)
class _Tally:
    """What an epoch's training has come to."""

    losses: list[float]
    """One for each step that has been read."""
    correct: Tensor
    """Hits so far, float64 on the device."""


@dataclass(frozen=True, slots=True)
class _Stopped:
    """The epoch was not finished; `within` is what is to be saved of it, if anything."""

    within: Within | None


class _Watch:
    """Splits wall time by what it was spent on, before a stop too."""

    def __init__(self, spent: dict[str, float]) -> None:
        self._at = time.perf_counter()
        self.spent = dict.fromkeys(("data", "compute", "validation", "recording"), 0.0) | spent

    def lap(self, kind: str) -> None:
        """The time since the last lap was spent on `kind`."""
        now = time.perf_counter()
        self.spent[kind] += now - self._at
        self._at = now

    @property
    def total(self) -> float:
        return sum(self.spent.values())

    def timings(self) -> Timings:
        return Timings(**self.spent)


def _check_validated(done: EpochDone, config: TrainConfig) -> None:
    """The last step of an epoch shows in the validation only; such weights are not to be saved."""
    if not math.isfinite(done.val_loss):
        raise _diverged("validation loss", done.val_loss, f"epoch {done.epoch}", config)


def _check_finite(block: Steps, config: TrainConfig) -> None:
    for place, loss in enumerate(block.losses):
        if not math.isfinite(loss):
            raise _diverged("loss", loss, f"epoch {block.epoch}, step {block.first_step + place}", config)


def _diverged(what: str, value: float, when: str, config: TrainConfig) -> Diverged:
    return Diverged(
        f"The {what} became {'NaN' if math.isnan(value) else 'infinite'} in {when}. "
        f"A learning rate lower than {config.lr:g} may help."
    )

"""The learning rate of each step, held against torch's own schedulers."""

from __future__ import annotations

import warnings
from itertools import pairwise

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR, StepLR

from trainer.config import TrainConfig
from trainer.schedule import lr_at

STEPS = 7
"""An epoch's."""


def ours(**settings: object) -> list[float]:
    config = TrainConfig(lr=0.1, **settings)  # type: ignore[arg-type]
    return [lr_at(config, step, STEPS) for step in range(config.epochs * STEPS)]


def theirs(scheduler: type[LRScheduler], steps: int, **arguments: object) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule = scheduler(optimizer, **arguments)  # type: ignore[arg-type]
    rates = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "step of the schedule before that of the optimizer"; there is none here
        for _ in range(steps):
            rates.append(float(optimizer.param_groups[0]["lr"]))
            schedule.step()
    return rates


def test_constant_stays():
    assert set(ours(epochs=3)) == {0.1}


def test_step_drops_as_torch_does():
    expected = theirs(StepLR, 6 * STEPS, step_size=2 * STEPS, gamma=0.5)
    assert ours(epochs=6, schedule="step", step_epochs=2, step_gamma=0.5) == pytest.approx(expected)


def test_cosine_falls_as_torch_does():
    assert ours(epochs=5, schedule="cosine") == pytest.approx(theirs(CosineAnnealingLR, 5 * STEPS, T_max=5 * STEPS))


def test_one_cycle_rises_and_falls_as_torch_does():
    expected = theirs(OneCycleLR, 5 * STEPS - 1, max_lr=0.1, total_steps=5 * STEPS, cycle_momentum=False)
    assert ours(epochs=5, schedule="onecycle")[:-1] == pytest.approx(expected)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "step"])
def test_the_warm_up_rises_evenly_to_the_full_rate(schedule: str):
    rates = ours(epochs=4, schedule=schedule, warmup_epochs=2.0)
    rises = [after - before for before, after in pairwise(rates[: 2 * STEPS])]
    assert rises == pytest.approx([0.1 / (2 * STEPS + 1)] * len(rises))
    assert rates[2 * STEPS] == pytest.approx(0.1)


@pytest.mark.parametrize("schedule", ["constant", "step", "cosine", "onecycle"])
@pytest.mark.parametrize("epochs", [1, 2])
def test_even_the_shortest_run_has_a_rate_at_each_step(schedule: str, epochs: int):
    assert all(0 <= rate <= 0.1 for rate in ours(epochs=epochs, schedule=schedule))

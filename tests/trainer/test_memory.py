"""How much memory may be taken, and what is kept out of it."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

import numpy as np
import psutil
import pytest
import torch

from tests.limits import data_no_larger_than
from trainer.config import TrainConfig
from trainer.data import loading
from trainer.memory import free_memory, within_groups, within_limits
from trainer.sources import ImageSet

if TYPE_CHECKING:
    from pathlib import Path

MB = 1 << 20


def put(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def test_the_machine_sets_the_bound_where_nothing_else_does():
    assert 0 < free_memory() <= psutil.virtual_memory().total


@pytest.mark.parametrize(
    ("line", "root", "names", "stat"),
    [
        ("0::/a/b", "", ("memory__max", "memory__current"), "active_file {}\ninactive_file {}\n"),
        ("4:memory:/a/b", "memory", ("memory__limit_in_bytes", "memory__usage_in_bytes"),
         "active_file 7\ninactive_file 7\ntotal_active_file {}\ntotal_inactive_file {}\n"),
    ],
    ids=["v2", "v1"],
)  # fmt: skip
def test_a_container_sets_it_with_what_it_keeps_of_files_counted_as_free(
    tmp_path: Path, line: str, root: str, names: tuple[str, str], stat: str
):
    limit, usage = names
    put(tmp_path / "self", cgroup=f"1:cpu:/\n{line}\n")
    groups = tmp_path / "groups"
    unlimited = "max" if root == "" else str(2**63 - 4096)
    put(groups / root / "a" / "b", **{limit: unlimited, usage: "5", "memory__stat": ""})
    put(groups / root / "a", **{limit: f"{900 * MB}\n", usage: f"{700 * MB}\n"})
    put(groups / root / "a", memory__stat=f"anon 1\n{stat.format(100 * MB, 200 * MB)}")
    assert min(within_groups(tmp_path, groups)) == 500 * MB
    put(groups / root, **{limit: f"{300 * MB}", usage: f"{250 * MB}"})
    assert min(within_groups(tmp_path, groups)) == 50 * MB


def test_where_only_the_root_of_a_container_is_seen_it_counts(tmp_path: Path):
    put(tmp_path / "self", cgroup="0::/docker/0123\n")
    put(tmp_path / "groups", memory__max=str(100 * MB), memory__current=str(40 * MB))
    assert list(within_groups(tmp_path, tmp_path / "groups")) == [60 * MB]


def test_a_system_without_control_groups_or_proc_limits_nothing(tmp_path: Path):
    assert list(within_groups(tmp_path, tmp_path)) == []
    with data_no_larger_than(resource.RLIM_INFINITY - 1):
        assert list(within_limits(tmp_path)) == []


def test_a_set_that_a_limit_leaves_no_room_for_is_read_from_its_files():
    """60 MB of images fit a machine's memory, but not a quarter of the 100 MB that are left here."""
    images = ImageSet(np.empty((20_000, 32, 32, 3), np.uint8), np.zeros(20_000, np.int64), ("a", "b"))
    config, cpu = TrainConfig(image_size=32), torch.device("cpu")
    assert loading(config, images, len(images), cpu) == "resident"
    held = psutil.Process().memory_info().data
    with data_no_larger_than(held + 100 * MB):
        assert free_memory() < 110 * MB  # psutil counts the stack too
        assert loading(config, images, len(images), cpu) == "dataloader"

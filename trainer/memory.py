"""How much more memory may be taken: what the machine has, within what a container or the shell allows.

psutil tells of the whole machine only; in a container with a limit of its own, what goes by that is killed.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

PROC, GROUPS = Path("/proc"), Path("/sys/fs/cgroup")


def free_memory() -> int:
    """Bytes. What the system keeps of files in memory counts as free: it is given back on demand."""
    import psutil  # only here: the benchmark runs where there is nothing beside torch

    return max(0, min([int(psutil.virtual_memory().available), *within_groups(), *within_limits()]))


def within_groups(proc: Path = PROC, groups: Path = GROUPS) -> Iterator[int]:
    """What is left to each control group that this process is in and that has a limit, of version 2 or 1.

    https://docs.kernel.org/admin-guide/cgroup-v2.html and cgroup-v1/memory.html; nothing on a system without them.
    """
    try:
        told = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in told:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            yield from _left(groups, path, "memory.max", "memory.current", "")
        elif "memory" in controllers.split(","):
            yield from _left(groups / "memory", path, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_")


def within_limits(proc: Path = PROC) -> Iterator[int]:
    """What `ulimit -v` and `ulimit -d` leave; nothing where neither is set or the system does not tell what is used."""
    for kind, used in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
        most, _ = resource.getrlimit(kind)
        if most != resource.RLIM_INFINITY:
            yield from (most - size * 1024 for size in _numbers(proc / "self" / "status", f"{used}:"))


def _left(root: Path, path: str, limit: str, usage: str, prefix: str) -> Iterator[int]:
    """Of the group and those around it. In a container the path may be that of the host, and only the root be here."""
    folder = root / path.lstrip("/")
    for place in (folder, *folder.parents):
        try:
            most, used = (place / limit).read_text().strip(), int((place / usage).read_text())
        except OSError:
            most, used = "max", 0
        if most != "max":
            kept = _numbers(place / "memory.stat", f"{prefix}active_file", f"{prefix}inactive_file")
            yield int(most) - used + sum(kept)
        if place == root:
            return


def _numbers(path: Path, *names: str) -> list[int]:
    """Those in the lines that begin with these names."""
    try:
        lines = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return []
    return [int(line[1]) for line in lines if line and line[0] in names]

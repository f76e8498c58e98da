"""What the kernel refuses, as a machine that has run out of something would."""

from __future__ import annotations

import resource
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def data_no_larger_than(size: int) -> Iterator[None]:
    """Memory beyond `size` bytes cannot be had, other than by mapping files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """A write beyond `size` bytes fails, as on a full disk, though with EFBIG; Python ignores the signal beside it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

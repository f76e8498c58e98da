"""What the standard library says of damaged files, in words."""

from __future__ import annotations

import contextlib
import errno
import struct
import tarfile
import tokenize
import zipfile
import zlib
from collections.abc import Iterator

from trainer.errors import IngestError

_FORMAT = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, struct.error)
_CONTENT = (ValueError, TypeError, KeyError, SyntaxError, OverflowError, RecursionError, RuntimeError)
"""RuntimeError: an encrypted entry, NotImplementedError: a way of packing that is not known."""


@contextlib.contextmanager
def in_words(file: str, entry: str | None = None) -> Iterator[None]:
    """Raises `IngestError` for what reading an archive or an array's head leads to where its bytes are not right."""
    try:
        yield
    except (*_FORMAT, *_CONTENT, tokenize.TokenError) as error:
        raise IngestError(f"is damaged or cut short ({error}).", file=file, entry=entry) from error
    except OSError as error:
        # Without a number it is gzip's, and EINVAL a seek to a place that cannot be; the others are the disk's own.
        if error.errno not in (None, errno.EINVAL):
            raise
        raise IngestError(f"is damaged or cut short ({error}).", file=file, entry=entry) from error

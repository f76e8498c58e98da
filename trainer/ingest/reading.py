"""The two steps, whatever the kind of the files: guess from a little of them, convert all of them."""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainer.errors import IngestError
from trainer.ingest import folders, idx, npz, table
from trainer.ingest.contract import Choices, Converted, Guess, Progress, Upload
from trainer.ingest.kinds import kind_of
from trainer.ingest.opening import unpacked
from trainer.ingest.resizing import noted, resized, sized
from trainer.ingest.writing import Block, Writer, check_space


@dataclass(frozen=True, slots=True)
class Reader:
    """What reads one kind of file."""

    guess: Callable[[Sequence[Upload], Choices], Guess]
    blocks: Callable[[Sequence[Upload], Guess], Iterator[Block]]


READERS = {
    "csv": Reader(table.guess, table.blocks),
    "archive": Reader(folders.guess, folders.blocks),
    "npz": Reader(npz.guess, npz.blocks),
    "idx": Reader(idx.guess, idx.blocks),
}


def guess(files: Sequence[Upload], choices: Choices = Choices()) -> Guess:  # noqa: B008 - it is frozen
    """What the files seem to be, with `choices` taken as said. Takes seconds at most, and little memory.

    Raises `IngestError`.
    """
    if not files:
        raise IngestError("There is no file.")
    with _in_words():
        files = _meant(files, choices)
        kind = choices.kind or kind_of(files)
        found = READERS[kind].guess(files, choices)
        return noted(found if kind == "archive" else sized(found))


def convert(files: Sequence[Upload], choices: Choices, out: Path, progress: Progress = lambda *_: None) -> Converted:
    """Read everything into the new folder `out`; what `choices` leaves open is guessed.

    Needs little memory, however large the files are. Raises `IngestError`, and then `out` is not there.
    """
    found = guess(files, choices)
    assert found.choices.kind is not None  # noqa: S101 - a guess fills it in
    files = _meant(files, found.choices)
    total = sum(upload.size for upload in files)
    read = READERS[found.choices.kind].blocks(files, found)
    return written(found, resized(read, found), out, lambda done: progress(min(done, total), total))


def _meant(files: Sequence[Upload], choices: Choices) -> Sequence[Upload]:
    """The files in a zip of tables, where it is not to be read as an archive of pictures."""
    return files if choices.kind in ("archive", "npz") else unpacked(files)


def written(
    found: Guess, blocks: Iterator[Block], out: Path, progress: Callable[[int], None] = lambda _: None
) -> Converted:
    """The new folder `out`, made of `blocks`. Raises `IngestError`, and then it is not there."""
    with _in_words(), _made(out):
        check_space(out)
        writer = Writer(out, found.shape)
        try:
            for block in blocks:
                writer.add(block)
                progress(block.done)
            return writer.finish(found)
        finally:
            writer.abandon()


@contextlib.contextmanager
def _made(out: Path) -> Iterator[None]:
    """A new folder, which is gone again where something goes wrong."""
    out.mkdir(parents=True)
    try:
        yield
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        raise


@contextlib.contextmanager
def _in_words() -> Iterator[None]:
    """What the machine cannot do becomes an `IngestError` too."""
    try:
        yield
    except MemoryError:
        raise IngestError("Reading it takes more memory than is allowed.") from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise IngestError("The disk is full. Nothing was kept; free some space and try again.") from error
        raise

"""From uploaded files to a data set: a look at them, a preview that may be corrected, and then they are kept.

A child process reads what a stranger has sent (`trainer.ingest`). What it found is kept beside the files as
`reading.json`, so that a restart of the server forgets nothing; what was being read then is read anew.
"""

from __future__ import annotations

import json
import logging
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from app.data_sets.child import Child, ChildEnded
from app.data_sets.pieces import NotYet, UploadError
from app.data_sets.uploads import Upload, Uploads
from app.forms import FormError
from trainer.errors import ConfigError
from trainer.ingest.contract import Choices
from trainer.packing import pack, unpack

logger = logging.getLogger("fitroom.intake")

SAMPLES = 40
"""Images of a first look."""
ENDS_WITHIN_S = 10.0
"""A process that was told to end is gone by then."""
AT_ONCE = 2
"""Uploads that are read at the same time; others wait for their turn."""

WAITING, LOOKING, CONVERTING, CHECKING, READY, FAILED = (
    "waiting", "looking", "converting", "checking", "ready", "failed",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reading:
    """How far an upload's way to a data set is, and what was found on it; as `trainer.ingest` tells it, in JSON."""

    stage: str = WAITING
    choices: dict[str, Any] = field(default_factory=dict)
    """What was said about the files; all else is guessed."""
    done: int = 0
    total: int = 0
    guess: dict[str, Any] | None = None
    before: dict[str, Any] | None = None
    """The guess of the reading before: what a form shows where these choices lead nowhere."""
    converted: dict[str, Any] | None = None
    findings: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    """`message`, and where known `file` and `field` (the choice that does not fit)."""

    @property
    def over(self) -> bool:
        return self.stage in (READY, FAILED)


@dataclass(slots=True)
class _Job:
    """One reading under way. Once `cancelled` it records nothing more; once `done` its process is gone."""

    reading: Reading
    after: _Job | None = None
    """The one of the same upload before it, which may still be ending."""
    child: Child | None = None
    cancelled: bool = False
    kept: bool = False
    """Whether its end is on the disk; else it is remembered here, or it would be read again and again."""
    done: threading.Event = field(default_factory=threading.Event)


class Intake:
    """Reads uploads in child processes. Thread-safe."""

    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads
        self._jobs: dict[str, _Job] = {}
        self._lock, self._taking = threading.Lock(), threading.Lock()
        self._threads = ThreadPoolExecutor(AT_ONCE, "intake")

    def read(self, upload_id: str, choices: Mapping[str, Any]) -> Reading:
        """Begin to read, with these choices; what was being read of this upload ends.

        Raises `NoSuchUpload`, `NotYet` before all files are here, `FormError` for choices that make no sense.
        """
        upload = self._uploads.get(upload_id)
        if not upload.complete:
            raise NotYet("Not all of its files are here yet.")
        try:
            Choices.from_dict(choices)
        except ConfigError as error:
            raise FormError(error.errors) from error
        self._uploads.touch(upload_id)
        with self._lock:
            last = self._last(upload_id)
            reading = Reading(choices=dict(choices), before=last.guess or last.before)
            job = _Job(reading, after=self._cancel(upload_id))
            self._jobs[upload_id] = job
            self._keep(upload_id, job.reading)
            self._threads.submit(self._run, upload, job)
        return job.reading

    def reading(self, upload_id: str) -> Reading | None:
        """How far it is; begins to read what is complete and is not being read. None before all files are here.

        Raises `NoSuchUpload`.
        """
        with self._lock:
            job = self._jobs.get(upload_id)
        if job:
            return job.reading
        kept = self._kept(upload_id)
        if kept and (kept.stage == FAILED or self._uploads.path(upload_id, "converted").is_dir()) and kept.over:
            return kept
        if not self._uploads.get(upload_id).complete:
            return None
        return self.read(upload_id, kept.choices if kept else {})

    def converted(self, upload_id: str) -> Path:
        """The folder with what is ready. Raises `NoSuchUpload`, `NotYet`."""
        reading = self.reading(upload_id)
        if reading is None or reading.stage != READY:
            raise NotYet("It has not been read yet.")
        return self._uploads.path(upload_id, "converted")

    @contextmanager
    def taking(self, upload_id: str) -> Iterator[tuple[Path, str]]:
        """The folder with what is ready and the hash of its content, for who makes a data set of it at last.

        The upload is removed at the end, unless the block raises. Raises `NoSuchUpload`, `NotYet`.
        """
        with self._taking:
            folder = self.converted(upload_id)
            reading = self.reading(upload_id)
            assert reading is not None  # noqa: S101 - it is ready
            assert reading.converted is not None  # noqa: S101
            yield folder, str(reading.converted["content"])
            self.discard(upload_id)

    def discard(self, upload_id: str) -> None:
        """The upload and everything made of it. Raises `NoSuchUpload`."""
        self._uploads.get(upload_id)
        with self._lock:
            job = self._cancel(upload_id)
        if job:
            # What still writes would bring back what is being removed.
            job.done.wait(ENDS_WITHIN_S)
        self._uploads.remove(upload_id)

    def busy(self) -> list[str]:
        """The uploads that are being read."""
        with self._lock:
            return [upload_id for upload_id, job in self._jobs.items()]

    def close(self) -> None:
        """End all child processes."""
        with self._lock:
            for upload_id in list(self._jobs):
                self._cancel(upload_id)
        self._threads.shutdown(cancel_futures=True)

    def _last(self, upload_id: str) -> Reading:
        """What was found the last time; with the lock held."""
        job = self._jobs.get(upload_id)
        return job.reading if job else self._kept(upload_id) or Reading()

    def _cancel(self, upload_id: str) -> _Job | None:
        """With the lock held. Returns what may still be ending."""
        job = self._jobs.pop(upload_id, None)
        if job:
            job.cancelled = True
            if job.child:
                job.child.end()
            else:
                job.done.set()
        return job

    def _run(self, upload: Upload, job: _Job) -> None:
        if job.after:
            job.after.done.wait(ENDS_WITHIN_S)
            job.after = None
        with self._lock:
            if job.cancelled:
                return
        try:
            self._read_through(upload, job)
        except (ChildEnded, UploadError, OSError) as error:
            self._tell(upload.id, job, stage=FAILED, error={"message": str(error)})
        except Exception:
            # An error nobody foresaw: without an end that is told, it would be read again and again.
            logger.exception("upload %s could not be read", upload.id)
            self._tell(upload.id, job, stage=FAILED, error={"message": "Reading it failed; the log says more."})
        finally:
            job.done.set()
            with self._lock:
                if job.kept and self._jobs.get(upload.id) is job:
                    del self._jobs[upload.id]

    def _read_through(self, upload: Upload, job: _Job) -> None:
        """In a process of its own. Raises `ChildEnded`, `UploadError`, OSError."""
        child = Child("trainer.ingest")
        try:
            with self._lock:
                if job.cancelled:
                    return
                job.child = child
            self._steps(upload, job, child)
        finally:
            child.close()

    def _steps(self, upload: Upload, job: _Job, child: Child) -> None:
        files = [
            {"path": str(self._uploads.path(upload.id, str(number)).absolute()), "filename": item.filename}
            for number, item in enumerate(upload.files)
        ]
        told = {"files": files, "choices": job.reading.choices}
        out = self._uploads.path(upload.id, "converted").absolute()
        shutil.rmtree(out, ignore_errors=True)

        def step(stage: str, name: str, question: Any, progress: Callable[[int, int], None] = lambda *_: None) -> bool:
            self._tell(upload.id, job, stage=stage)
            answer = child.ask(question, progress)
            if name in answer:
                if name == "guess":
                    _shorten(answer[name]["sample"])
                self._tell(upload.id, job, **{name: answer[name]})
                return True
            self._tell(upload.id, job, stage=FAILED, error=_error(answer))
            return False

        def progress(done: int, total: int) -> None:
            self._tell(upload.id, job, done=done, total=total)

        if (
            step(LOOKING, "guess", {"guess": told})
            and step(CONVERTING, "converted", {"convert": {**told, "out": str(out)}}, progress)
            and step(CHECKING, "findings", {"findings": str(out)})
        ):
            self._tell(upload.id, job, stage=READY)

    def _tell(self, upload_id: str, job: _Job, **changes: Any) -> None:
        with self._lock:
            if job.cancelled:
                return
            job.reading = replace(job.reading, **changes)
            if job.reading.over:
                self._end(upload_id, job)

    def _end(self, upload_id: str, job: _Job) -> None:
        """With the lock held."""
        try:
            self._keep(upload_id, job.reading)
        except OSError:
            logger.exception("what was found in upload %s could not be kept", upload_id)
        else:
            job.kept = True

    def _keep(self, upload_id: str, reading: Reading) -> None:
        path = self._uploads.path(upload_id, "reading.json")
        part = path.with_suffix(".part")
        part.write_text(json.dumps(asdict(reading)))
        part.replace(path)

    def _kept(self, upload_id: str) -> Reading | None:
        try:
            return Reading(**json.loads(self._uploads.path(upload_id, "reading.json").read_text()))
        except (OSError, ValueError, TypeError):
            return None


def _error(answer: dict[str, Any]) -> dict[str, Any]:
    """What went wrong, from an answer that is not the one that was asked for."""
    if "error" in answer:
        return dict(answer["error"])
    errors: dict[str, str] = answer["errors"]
    name, message = next(iter(errors.items()))
    return {"message": message, "field": name}


def _shorten(sample: dict[str, Any]) -> None:
    """To what a page shows: it is kept in memory and beside the files."""
    sample["labels"] = sample["labels"][:SAMPLES]
    sample.update(pack(unpack(sample)[:SAMPLES]))

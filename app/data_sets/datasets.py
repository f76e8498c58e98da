"""What people do to data sets, the same from pages and from JSON; each is noted in the audit trail with who did it."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.forms import FormError, text_problem
from app.guarding import audit
from app.looking import browse, images
from app.models import Run, Status
from app.runs import RunStateError
from app.state import State
from trainer import sources
from trainer.config import OPTIONS
from trainer.errors import DataError, DataMissing
from trainer.small_sets import SMALL
from trainer.sources import CSV, SET
from trainer.store import Card, DataSet, Store, export_npz, parsed

CARD_LENGTHS = {"source": 300, "licence": 100, "notes": 5000}
CARD = {
    "source": ("Source", "Where the images come from: a name, a paper, an address."),
    "licence": ("Licence", "What others may do with them, e.g. CC BY 4.0."),
    "notes": ("Notes", "What else one should know of them."),
}


MOST_RUNS = 100
OWN, FOLDERS, OLDER = "Your own", "CSV folders", "Older versions"


class InUse(Exception):
    """Runs name the data set that was to be removed; the message says which."""


class DataSetOut(BaseModel):
    id: str = Field(description="What a run's `dataset` names it by.")
    name: str
    version: int | None = Field(description="Null for those that have none.")
    classes: list[str]
    shape: list[int] = Field(description="Height, width and channels of an image.")
    train: int | None = Field(description="Training images.")
    val: int | None
    sha256: str | None = Field(description="Of its content; null where it is not kept by Fitroom.")
    source: str = ""
    licence: str = ""
    notes: str = ""
    read: list[str] = Field(default=[], description="What became of its files on the way: left out, resized, cut.")
    added_at: datetime | None = None
    bytes: int | None = None
    problem: str | None = Field(default=None, description="Why it cannot be read.")

    @property
    def label(self) -> str:
        return sources.label(self.id)

    @property
    def facts(self) -> str:
        """What a form says of it."""
        if self.problem:
            return self.problem
        size = " × ".join(map(str, self.shape))
        return f"{size}, {len(self.classes):,} classes, {self.train:,} training and {self.val:,} validation images"

    @property
    def image_side(self) -> int:
        """Pixels a side of a cell in a grid of its images."""
        return max(self.shape[:2])

    @property
    def image_size(self) -> int | None:
        """Pixels a side at which its images are trained on as they are, as far as a run's settings allow."""
        option = OPTIONS["image_size"]
        if not self.shape or option.minimum is None or option.maximum is None:
            return None
        return int(min(option.maximum, max(option.minimum, *self.shape[:2])))

    @classmethod
    def of(cls, kept: DataSet) -> DataSetOut:
        about = kept.about
        return cls(
            id=kept.id,
            name=kept.name,
            version=kept.version,
            classes=list(about.classes),
            shape=list(about.shape),
            train=sum(about.train),
            val=sum(about.val),
            sha256=about.content,
            source=kept.card.source,
            licence=kept.card.licence,
            notes=kept.card.notes,
            read=list(about.notes),
            added_at=datetime.fromtimestamp(kept.added, UTC),
            bytes=kept.bytes,
        )


class UseOut(BaseModel):
    """A run that names a data set."""

    id: int
    name: str
    status: Status


class DataSetDetailOut(DataSetOut):
    versions: list[str] = Field(description="Ids of all versions of this name, newest first.")
    run_count: int = Field(description="How many runs name it.")
    runs: list[UseOut] = Field(description=f"The newest {MOST_RUNS} of them.")


def catalogue(data_dir: Path) -> list[DataSetOut]:
    """All that a run may name: Fashion-MNIST, those that are kept (by name, newest version first), CSV folders."""
    store = Store(data_dir)
    kept = [DataSetOut.of(item) for item in store.sets()] + [_damaged(*item) for item in store.damaged()]
    others = [_other(dataset, data_dir) for dataset, _ in sources.available(data_dir) if not dataset.startswith(SET)]
    return [*others[:1], *kept, *others[1:]]


def get(dataset: str, data_dir: Path) -> DataSetOut:
    """Raises `DataMissing`."""
    if dataset.startswith(SET):
        return DataSetOut.of(Store(data_dir).get(*parsed(dataset)))
    if dataset not in dict(sources.available(data_dir)):
        raise DataMissing(f"There is no data set {dataset[:80]}.")
    return _other(dataset, data_dir)


def versions(name: str, data_dir: Path) -> list[DataSetOut]:
    """Of one name, the newest first."""
    return [DataSetOut.of(item) for item in Store(data_dir).sets() if item.name == name]


def detail(shared: State, dataset: str) -> DataSetDetailOut:
    """One data set, its versions and its runs. Raises `DataMissing`."""
    data_dir = shared.settings.data_dir
    found = get(dataset, data_dir)
    others = versions(found.name, data_dir) if found.version else []
    with shared.db.read() as session:
        count = session.scalar(select(func.count()).where(Run.dataset == found.id)) or 0
        used = uses(session, found.id, MOST_RUNS)
    return DataSetDetailOut(**found.model_dump(), versions=[item.id for item in others], run_count=count, runs=used)


def grouped(data_dir: Path) -> list[tuple[str, list[DataSetOut]]]:
    """All of `catalogue` under titles, the newest version of each before the older ones."""
    groups: dict[str, list[DataSetOut]] = {"": [], OWN: [], FOLDERS: [], OLDER: []}
    seen = set()
    for item in catalogue(data_dir):
        if item.version is None:
            title = FOLDERS if item.id.startswith(CSV) else ""
        else:
            title = OLDER if item.name in seen else OWN
            seen.add(item.name)
        groups[title].append(item)
    return [(title, items) for title, items in groups.items() if items]


def suggested(dataset: str, data_dir: Path) -> dict[str, Any]:
    """Settings for a run on it: its newest version where none is named, its own image size, batches that it fills."""
    try:
        found = get(dataset, data_dir)
    except DataMissing:
        return {"dataset": dataset}
    size = found.image_size if found.version else None
    whole_batch = OPTIONS["batch_size"].default
    few = found.train if found.train and found.train < whole_batch else None
    return (
        {"dataset": found.id}
        | ({"image_size": size} if size else {})
        | ({"batch_size": max(1, 1 << (few.bit_length() - 3))} if few and few > 4 else {})
    )


def npz(dataset: str, data_dir: Path) -> tuple[str, Iterator[bytes]]:
    """A file name, and the data set as .npz, packed while it is sent. Raises `DataMissing`."""
    kept = Store(data_dir).get(*parsed(dataset))
    return kept.file, _packed(kept)


def _packed(kept: DataSet) -> Iterator[bytes]:
    """Through a pipe: nothing of it is kept on the way, and where the reader is gone the packing ends."""
    inlet, outlet = os.pipe()
    problems: list[Exception] = []

    def pack() -> None:
        try:
            with os.fdopen(outlet, "wb") as out:
                export_npz(kept, out)
        except BrokenPipeError:
            return
        except Exception as error:  # noqa: BLE001 - raised again where the reader waits
            problems.append(error)

    packing = threading.Thread(target=pack, name="npz", daemon=True)
    packing.start()
    with os.fdopen(inlet, "rb") as source:
        while block := source.read(1 << 18):
            yield block
    packing.join()
    if problems:
        # The answer has begun: only a connection that breaks can say that the file is not whole.
        raise problems[0]


def uses(session: Session, dataset: str, most: int | None = None) -> list[UseOut]:
    """The runs that name it, newest first."""
    wanted = select(Run.id, Run.name, Run.status).where(Run.dataset == dataset).order_by(Run.id.desc()).limit(most)
    found = session.execute(wanted).all()
    return [UseOut(id=row.id, name=row.name, status=Status(row.status)) for row in found]


def counted_uses(session: Session) -> dict[str, int]:
    """How many runs name each data set."""
    found = session.execute(select(Run.dataset, func.count()).group_by(Run.dataset)).all()
    return {str(dataset): int(count) for dataset, count in found}


def keep(shared: State, upload_id: str, values: Mapping[str, Any], who: str) -> tuple[DataSetOut, bool]:
    """Make a data set of what was read of an upload, and remove the upload. False where its content was kept already.

    Raises `FormError`, `NoSuchUpload`, `NotYet`.
    """
    name, card = _name(values), card_of(values)
    store = Store(shared.settings.data_dir)
    with shared.intake.taking(upload_id) as (converted, content):
        known = store.find(content)
        try:
            kept = store.accept(converted, name, card)
        except DataError as error:
            raise FormError({"name": str(error)}) from error
    with shared.db.write() as session:
        audit.note(session, who, "kept", now=shared.clock(), detail=kept.id)
    return DataSetOut.of(kept), known is None


def fetch(shared: State, name: str, who: str) -> None:
    """Begin to download a well-known set. Raises `FormError`."""
    if name not in SMALL:
        raise FormError({"name": f"Must be one of {', '.join(SMALL)}."})
    shared.fetching.start(name)
    with shared.db.write() as session:
        audit.note(session, who, "fetched", now=shared.clock(), detail=name)


def describe(shared: State, dataset: str, values: Mapping[str, Any], who: str) -> DataSetOut:
    """Change its data card. Raises `FormError`, `DataMissing`."""
    name, version = _kept(dataset)
    changed = Store(shared.settings.data_dir).describe(name, version, card_of(values))
    with shared.db.write() as session:
        audit.note(session, who, "described", now=shared.clock(), detail=changed.id)
    return DataSetOut.of(changed)


def remove(shared: State, dataset: str, who: str, *, breaks: Sequence[int]) -> None:
    """Remove a version. `breaks`: the runs that one knows of and whose images will be gone.

    Raises `DataMissing`, `InUse` where another run names it, `RunStateError` where one still needs it.
    """
    name, version = _kept(dataset)
    store = Store(shared.settings.data_dir)
    store.get(name, version)
    # In one write transaction, so that no run is submitted between the look and the removal.
    with shared.db.write() as session:
        found = uses(session, dataset)
        living = [use for use in found if not use.status.over]
        if living:
            raise RunStateError(f"{_runs(living)} not over yet, and needs it: cancel first, or wait.")
        unknown = [use for use in found if use.id not in breaks]
        if unknown:
            raise InUse(f"{_runs(unknown)} made with it: without it, their images are gone and they cannot run again.")
        store.remove(name, version)
        audit.note(session, who, "removed", now=shared.clock(), detail=dataset)


def run_ids(text: str) -> list[int]:
    """Numbers with commas between; what is none counts as not said."""
    return [int(part) for part in text.split(",") if re.fullmatch(r"[0-9]{1,18}", part.strip())]


def card_of(values: Mapping[str, Any]) -> Card:
    """Raises `FormError`."""
    errors, texts = {}, {}
    for name, longest in CARD_LENGTHS.items():
        text = values.get(name, "")
        if not isinstance(text, str):
            errors[name] = "Must be text."
            continue
        texts[name] = text.replace("\r\n", "\n").strip()
        if problem := text_problem(texts[name], longest, lines=name == "notes"):
            errors[name] = problem
    if errors:
        raise FormError(errors)
    return Card(**texts)


def _name(values: Mapping[str, Any]) -> str:
    name = values.get("name", "")
    if not isinstance(name, str):
        raise FormError({"name": "Must be text."})
    return name.strip()


def _kept(dataset: str) -> tuple[str, int]:
    """Name and version of a kept data set's id. Raises `DataMissing`, `FormError` for one without a version."""
    name, version = parsed(dataset)
    if version is None:
        raise FormError({"dataset": "Name the version too, as in set:NAME@1."})
    return name, version


def _damaged(name: str, version: int) -> DataSetOut:
    return DataSetOut(
        id=f"{SET}{name}@{version}",
        name=name,
        version=version,
        classes=[],
        shape=[],
        train=None,
        val=None,
        sha256=None,
        problem="Its description is damaged. Upload it again.",
    )


def _other(dataset: str, data_dir: Path) -> DataSetOut:
    """One that is not kept by Fitroom, as its files tell."""
    about: dict[str, Any] = {"id": dataset, "name": sources.label(dataset), "version": None, "sha256": None}
    try:
        sets = {name: images.image_set(dataset, name, data_dir) for name in browse.SPLITS}
    except DataError as error:
        return DataSetOut(**about, classes=[], shape=[], train=None, val=None, problem=str(error))
    train = sets["train"]
    return DataSetOut(
        **about,
        classes=list(train.classes),
        shape=list(train.images.shape[1:]),
        train=len(train),
        val=len(sets["val"]),
    )


def _runs(uses: Sequence[UseOut], most: int = 10) -> str:
    """ "Runs 7, 5 were", for the beginning of a sentence."""
    numbers = ", ".join(str(use.id) for use in uses[:most]) + (
        f" and {len(uses) - most} more" if len(uses) > most else ""
    )
    return f"Run {numbers} is" if len(uses) == 1 else f"Runs {numbers} are"

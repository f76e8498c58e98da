"""Images in the folders of an archive, one folder a class, in folders for training and validation or not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from trainer.errors import IngestError, legible
from trainer.ingest.contract import MOST_CLASSES, Bytes, Choices, Guess, Part, Sample, Upload
from trainer.ingest.decoding import Picture, decoded
from trainer.ingest.entries import Entry, entries
from trainer.ingest.fitting import FIT, Size, same_proportions, smaller, why_fit, why_size
from trainer.ingest.names import class_name, in_order, renamed
from trainer.ingest.writing import Block

_SPLITS = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test", "eval": "test",
}  # fmt: skip
_ENDINGS = (".png", ".jpg", ".jpeg", ".jpe", ".webp", ".bmp")
_OTHER_IMAGES = (".gif", ".tif", ".tiff", ".heic", ".avif", ".jp2", ".svg", ".psd", ".ico", ".ppm", ".pgm")
_LOOKED_AT, _OF_A_CLASS = 400, 20
"""Images that are looked at for a guess: so many in all, and of each class."""
_BLOCK = 2 << 20


@dataclass(frozen=True, slots=True)
class _Tree:
    """What the names of the entries tell."""

    prefix: int
    """So many folders stand before all images."""
    split: bool
    """Whether the next folder says training or validation."""
    role: dict[str, str]
    """"train" or "val" by what such a folder stands for."""
    counts: dict[str, Counter[str]]
    """Images of each class, by what their split stands for."""
    left_out: Counter[str]
    """Entries that are not read, by why."""


@dataclass(slots=True)
class _Seen:
    """Images that were looked at."""

    pictures: list[tuple[str, Picture]] = field(default_factory=list)
    """With the class of each."""
    of: Counter[str] = field(default_factory=Counter)


def guess(files: Sequence[Upload], choices: Choices) -> Guess:
    """From all names and some of the images. Raises `IngestError`."""
    upload = _one(files)
    tree = _tree(upload)
    seen = _look(upload, tree)
    sizes = Counter(picture.size for _, picture in seen.pictures)
    size = choices.size or _size(sizes)
    channels = choices.channels or ("colour" if any(picture.is_colour for _, picture in seen.pictures) else "grey")
    names = in_order({name for counts in tree.counts.values() for name in counts})
    classes = renamed(names, choices.classes)
    shown = dict(zip(names, classes, strict=True))
    used = [tree.counts[split] for split in tree.role]
    fit = choices.fit or FIT
    images = [picture.pixels(size, channels, fit) for _, picture in seen.pictures]
    unsure = {"size": "" if choices.size else why_size(sizes, size), "fit": "" if choices.fit else why_fit(sizes, size)}
    return Guess(
        choices=replace(choices, kind="archive", size=size, fit=fit, channels=channels),
        shape=(*size, images[0].shape[2]),
        parts=_parts(tree, upload),
        classes=classes,
        counts=tuple(sum(counts[name] for counts in used) for name in names),
        sample=Sample(np.stack(images), tuple(shown[name] for name, _ in seen.pictures)),
        unsure={name: why for name, why in unsure.items() if why},
        notes=tuple(_notes(tree)),
        plan=tree,
    )


def blocks(files: Sequence[Upload], found: Guess) -> Iterator[Block]:
    """Raises `IngestError` that names the entry."""
    upload, choices = _one(files), found.choices
    tree = found.plan
    assert isinstance(tree, _Tree)  # noqa: S101 - a guess of this kind has it
    assert choices.size is not None  # noqa: S101 - a guess fills them in
    assert choices.fit is not None  # noqa: S101
    assert choices.channels is not None  # noqa: S101
    most = max(1, _BLOCK // int(np.prod(found.shape)))
    waiting: dict[str, _Batch] = {split: _Batch() for split in ("train", "val")}
    for entry, split, name in _images(upload, tree):
        picture = decoded(entry.read(), file=upload.filename, entry=entry.name)
        batch = waiting[split]
        batch.add(picture.pixels(choices.size, choices.channels, choices.fit), name, picture.size, choices.size)
        if len(batch.labels) == most:
            yield batch.taken(split, entry.position)
    size = upload.size
    yield from (batch.taken(split, size) for split, batch in waiting.items() if batch.labels)


class _Batch:
    """Images on their way into a block."""

    def __init__(self) -> None:
        self.images: list[Bytes] = []
        self.labels: list[str] = []
        self.resized = self.refitted = 0

    def add(self, image: Bytes, label: str, stored: Size, size: Size) -> None:
        self.images.append(image)
        self.labels.append(label)
        self.resized += stored != size
        self.refitted += not same_proportions(stored, size)

    def taken(self, split: str, done: int) -> Block:
        block = Block(split, np.stack(self.images), self.labels, done, self.resized, self.refitted)
        self.images, self.labels, self.resized, self.refitted = [], [], 0, 0
        return block


def _one(files: Sequence[Upload]) -> Upload:
    if len(files) > 1:
        raise IngestError("Bring one archive with all the images; these are several.", file=files[0].filename)
    return files[0]


# ---------------------------------------------------------------- what the names tell


def _tree(upload: Upload) -> _Tree:
    left_out: Counter[str] = Counter()
    folders: Counter[tuple[str, ...]] = Counter()
    for entry in entries(upload):
        if _is_image(entry, upload):
            folders[entry.path.parts[:-1]] += 1
        else:
            left_out["no images"] += 1
    if not folders:
        raise IngestError("holds no PNG, JPEG, WebP or BMP images.", file=upload.filename)
    if len(folders) > 3 * MOST_CLASSES:
        raise IngestError(f"holds more than {MOST_CLASSES:,} folders with images.", file=upload.filename)
    prefix = _prefix(folders)
    split = _is_split(folders, prefix)
    counts: dict[str, Counter[str]] = {}
    for parts, count in folders.items():
        place = _place(parts, prefix, split=split)
        if place is None:
            if not split:
                problem = "has images that are in no folder. Put those of each class into a folder of its name."
                raise IngestError(problem, file=upload.filename)
            left_out["without a class"] += count
        else:
            counts.setdefault(place[0], Counter())[place[1]] += count
    return _Tree(prefix, split, _roles(counts, upload), counts, left_out)


def _is_image(entry: Entry, upload: Upload) -> bool:
    ending = entry.path.suffix.lower()
    if ending in _OTHER_IMAGES:
        raise IngestError("is no PNG, JPEG, WebP or BMP image.", file=upload.filename, entry=entry.name)
    return ending in _ENDINGS


def _prefix(folders: Counter[tuple[str, ...]]) -> int:
    """How many folders all images share, as long as they leave each image one that names its class."""
    prefix = 0
    while all(len(parts) > prefix + 1 for parts in folders) and len({parts[prefix] for parts in folders}) == 1:
        prefix += 1
    return prefix


def _is_split(folders: Counter[tuple[str, ...]], prefix: int) -> bool:
    """Whether the first folders say training or validation, and there are folders inside the first of them."""
    firsts = {parts[prefix].lower() for parts in folders if len(parts) > prefix}
    inner = any(len(parts) > prefix + 1 for parts in folders)
    return bool(firsts) and firsts <= set(_SPLITS) and inner


def _place(parts: tuple[str, ...], prefix: int, *, split: bool) -> tuple[str, str] | None:
    """What an image's split stands for, and its class; None where no folder names one."""
    rest = parts[prefix:]
    kind = _SPLITS[rest[0].lower()] if split and rest else "train"
    name = class_name(rest[1] if split and len(rest) > 1 else rest[0] if rest and not split else "")
    return (kind, name) if name else None


def _roles(counts: dict[str, Counter[str]], upload: Upload) -> dict[str, str]:
    if "train" not in counts:
        raise IngestError("has no folder for training with folders of classes in it.", file=upload.filename)
    val = next((kind for kind in ("val", "test") if kind in counts), None)
    return {"train": "train"} | ({val: "val"} if val else {})


def _images(upload: Upload, tree: _Tree) -> Iterator[tuple[Entry, str, str]]:
    """Those that are read, with split and class."""
    for entry in entries(upload):
        if not _is_image(entry, upload):
            continue
        place = _place(entry.path.parts[:-1], tree.prefix, split=tree.split)
        if place and place[0] in tree.role:
            yield entry, tree.role[place[0]], place[1]


# ---------------------------------------------------------------- what some images tell


def _look(upload: Upload, tree: _Tree) -> _Seen:
    """At some of each class, for training."""
    seen, counts = _Seen(), tree.counts["train"]
    most = max(1, min(_OF_A_CLASS, _LOOKED_AT // len(counts)))
    wanted = min(_LOOKED_AT, sum(min(most, count) for count in counts.values()))
    # Evenly spread: the first images of a folder are often alike.
    steps = {name: max(1, count // most) for name, count in counts.items()}
    passed: Counter[str] = Counter()
    for entry, split, name in _images(upload, tree):
        if split != "train":
            continue
        passed[name] += 1
        if (passed[name] - 1) % steps[name] == 0 and seen.of[name] < most:
            seen.of[name] += 1
            seen.pictures.append((name, decoded(entry.read(), file=upload.filename, entry=entry.name)))
        if len(seen.pictures) == wanted:
            break
    return seen


def _size(sizes: Counter[Size]) -> Size:
    """The size of most, or else a square of their middle size; at most what a run can take."""
    (h, w), count = sizes.most_common(1)[0]
    if 2 * count < sizes.total():
        h = w = sorted(min(size) for size in sizes.elements())[sizes.total() // 2]
    return smaller((h, w))


def _parts(tree: _Tree, upload: Upload) -> tuple[Part, ...]:
    if not tree.split:
        return (Part(upload.filename, "train", tree.counts["train"].total()),)
    return tuple(
        Part(f"{kind}/", tree.role.get(kind, "unused"), counts.total())  # type: ignore[arg-type]
        for kind, counts in tree.counts.items()
    )


def _notes(tree: _Tree) -> Iterator[str]:
    for why, count in tree.left_out.items():
        yield f"Left out: {count:,} files {'that are ' if why == 'no images' else ''}{legible(why)}."
    for kind in tree.counts.keys() - tree.role.keys():
        yield f"Left out: {tree.counts[kind].total():,} images in {kind}/, since another folder is for validation."

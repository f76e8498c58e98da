"""What the names of an archive's folders tell: which are classes, and which stand for training and validation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from trainer.errors import IngestError
from trainer.ingest.contract import MOST_CLASSES, Upload
from trainer.ingest.entries import Entry, entries
from trainer.ingest.names import class_name

_SPLITS = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test", "eval": "test",
}  # fmt: skip
_ENDINGS = (".png", ".jpg", ".jpeg", ".jpe", ".webp", ".bmp")
_OTHER_IMAGES = (".gif", ".tif", ".tiff", ".heic", ".avif", ".jp2", ".svg", ".psd", ".ico", ".ppm", ".pgm")


@dataclass(frozen=True, slots=True)
class Tree:
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


def read_tree(upload: Upload) -> Tree:
    """Raises `IngestError` where there are no images, or none for training in a folder that names its class."""
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
    return Tree(prefix, split, _roles(counts, upload), counts, left_out)


def used_images(upload: Upload, tree: Tree) -> Iterator[tuple[Entry, str, str]]:
    """Those that are read, with split and class."""
    for entry in entries(upload):
        if not _is_image(entry, upload):
            continue
        place = _place(entry.path.parts[:-1], tree.prefix, split=tree.split)
        if place and place[0] in tree.role:
            yield entry, tree.role[place[0]], place[1]


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

"""Images in the folders of an archive, one folder a class, in folders for training and validation or not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from trainer.errors import IngestError, legible
from trainer.ingest.contract import Bytes, Choices, Guess, Part, Sample, Upload
from trainer.ingest.decoding import Picture, decoded
from trainer.ingest.fitting import FIT, Size, same_proportions, smaller, why_fit, why_size
from trainer.ingest.names import in_order, renamed
from trainer.ingest.tree import Tree, read_tree, used_images
from trainer.ingest.writing import Block

_LOOKED_AT, _OF_A_CLASS = 400, 20
"""Images that are looked at for a guess: so many in all, and of each class."""
_BLOCK = 2 << 20


@dataclass(slots=True)
class _Seen:
    """Images that were looked at."""

    pictures: list[tuple[str, Picture]] = field(default_factory=list)
    """With the class of each."""
    of: Counter[str] = field(default_factory=Counter)


def guess(files: Sequence[Upload], choices: Choices) -> Guess:
    """From all names and some of the images. Raises `IngestError`."""
    upload = _one(files)
    tree = read_tree(upload)
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
    assert isinstance(tree, Tree)  # noqa: S101 - a guess of this kind has it
    assert choices.size is not None  # noqa: S101 - a guess fills them in
    assert choices.fit is not None  # noqa: S101
    assert choices.channels is not None  # noqa: S101
    most = max(1, _BLOCK // int(np.prod(found.shape)))
    waiting: dict[str, _Batch] = {split: _Batch() for split in ("train", "val")}
    for entry, split, name in used_images(upload, tree):
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


def _look(upload: Upload, tree: Tree) -> _Seen:
    """At some of each class, for training."""
    seen, counts = _Seen(), tree.counts["train"]
    most = max(1, min(_OF_A_CLASS, _LOOKED_AT // len(counts)))
    wanted = min(_LOOKED_AT, sum(min(most, count) for count in counts.values()))
    # Evenly spread: the first images of a folder are often alike.
    steps = {name: max(1, count // most) for name, count in counts.items()}
    passed: Counter[str] = Counter()
    for entry, split, name in used_images(upload, tree):
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


def _parts(tree: Tree, upload: Upload) -> tuple[Part, ...]:
    if not tree.split:
        return (Part(upload.filename, "train", tree.counts["train"].total()),)
    return tuple(
        Part(f"{kind}/", tree.role.get(kind, "unused"), counts.total())  # type: ignore[arg-type]
        for kind, counts in tree.counts.items()
    )


def _notes(tree: Tree) -> Iterator[str]:
    for why, count in tree.left_out.items():
        yield f"Left out: {count:,} files {'that are ' if why == 'no images' else ''}{legible(why)}."
    for kind in tree.counts.keys() - tree.role.keys():
        yield f"Left out: {tree.counts[kind].total():,} images in {kind}/, since another folder is for validation."

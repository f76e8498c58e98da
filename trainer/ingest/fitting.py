"""One image is brought to a size: what stands over is cut away, what is missing is padded, or all is stretched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from PIL import Image

Size = tuple[int, int]
"""Height and width."""

FIT = "crop"
"""What is done where nobody says: as fastai and torchvision's recipes do it, what is in the picture keeps its form."""
LARGEST_GUESS = 224
"""Pixels a side; a run takes no more, though more may be chosen."""
_DONE = {"crop": "cut to their middle", "pad": "padded with black", "stretch": "stretched"}


def fitted(image: Image.Image, size: Size, fit: str) -> Image.Image:
    """The image in this size; its middle stays in the middle. `fit`: one of `contract.FITS`."""
    stored = image.height, image.width
    if fit == "stretch" or same_proportions(stored, size):
        return _resized(image, size)
    return _padded(image, size) if fit == "pad" else _resized(image, size, _middle(stored, size))


def same_proportions(stored: Size, size: Size) -> bool:
    """As far as whole pixels allow."""
    inner = _within(size, stored)
    return all(abs(inside - whole) <= 1 for inside, whole in zip(inner, size, strict=True))


def smaller(size: Size) -> Size:
    """What a run can take, in the same proportions."""
    shrink = min(1.0, LARGEST_GUESS / max(size))
    return max(1, round(size[0] * shrink)), max(1, round(size[1] * shrink))


def _resized(image: Image.Image, size: Size, box: tuple[float, float, float, float] | None = None) -> Image.Image:
    return image.resize((size[1], size[0]), Image.Resampling.LANCZOS, box)


def _padded(image: Image.Image, size: Size) -> Image.Image:
    (h, w), inner = size, _within(size, (image.height, image.width))
    whole = Image.new(image.mode, (w, h))
    whole.paste(_resized(image, inner), ((w - inner[1]) // 2, (h - inner[0]) // 2))
    return whole


def _middle(stored: Size, size: Size) -> tuple[float, float, float, float]:
    """Edges of the largest part of these proportions, to the fraction of a pixel: left, top, right, bottom."""
    scale = min(stored[0] / size[0], stored[1] / size[1])
    top, left = (max(0.0, (outer - inner * scale) / 2) for outer, inner in zip(stored, size, strict=True))
    return left, top, stored[1] - left, stored[0] - top


def _within(size: Size, stored: Size) -> Size:
    """The largest of the stored proportions."""
    scale = min(size[0] / stored[0], size[1] / stored[1])
    return max(1, round(stored[0] * scale)), max(1, round(stored[1] * scale))


def told(resized: int, refitted: int, total: int, size: Size, fit: str | None) -> Iterator[str]:
    """What was done to how many images, for the data card."""
    if resized:
        yield f"{resized:,} of {total:,} images were resized to {size[0]} x {size[1]}."
    if refitted:
        yield f"{refitted:,} of {total:,} images had other proportions and were {_DONE[fit or FIT]}."


def why_size(sizes: Counter[Size], size: Size) -> str:
    """Why it has to be asked which size images of these sizes are brought to; "" where all have it."""
    other = sizes.total() - sizes[size]
    looked = f"Of {sizes.total():,} images looked at, {other:,} have another size than {size[0]} x {size[1]}"
    return f"{looked}. Those will be resized." if other else ""


def why_fit(sizes: Counter[Size], size: Size) -> str:
    """Why it has to be asked how they are brought to it; "" where all have its proportions."""
    odd = sum(count for stored, count in sizes.items() if not same_proportions(stored, size))
    looked = f"Of {sizes.total():,} images looked at, {odd:,} have other proportions than {size[0]} x {size[1]}."
    return looked if odd else ""

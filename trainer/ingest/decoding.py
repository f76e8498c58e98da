"""One image file becomes pixels: upright, in grey or colour, of one size."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from trainer.errors import IngestError
from trainer.ingest.contract import CHANNELS, Bytes
from trainer.ingest.fitting import FIT, fitted

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
MOST_PIXELS = 50_000_000
"""Of an image file; a camera's has 12 to 50 million."""
_PLAIN = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa")
_DEEP = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_ORIENTATION, _UPRIGHT = 0x0112, 1
_TINT = 16
"""Levels by which the channels of a grey picture, saved as a JPEG in colour, may differ."""


@dataclass(frozen=True, slots=True)
class Picture:
    """An image as it is in its file, upright."""

    image: Image.Image

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.image.height, self.image.width

    @property
    def is_colour(self) -> bool:
        """Whether it shows any, however it is stored."""
        if self.image.mode in ("1", "L", "LA", "La"):
            return False
        small = self.image.convert("RGB")
        small.thumbnail((64, 64))
        pixels = np.asarray(small, np.int16)
        return bool((pixels.max(2) - pixels.min(2)).max() > _TINT)

    def pixels(self, size: tuple[int, int], channels: str, fit: str = FIT) -> Bytes:
        """[H, W, C]. Transparent parts are on white, as programs show them."""
        image = self.image
        if image.mode in ("PA", "LA", "La", "RGBa") or (image.mode == "P" and "transparency" in image.info):
            image = image.convert("RGBA")
        if image.mode == "RGBA":
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        image = image.convert("L" if channels == "grey" else "RGB")
        if size != self.size:
            image = fitted(image, size, fit)
        return np.asarray(image, np.uint8).reshape(*size, CHANNELS[channels])


def decoded(content: bytes, *, file: str, entry: str) -> Picture:
    """Raises `IngestError` where it is no whole image of a usual kind."""
    try:
        with warnings.catch_warnings():
            # Pillow warns of odd metadata, which does not matter here, and of large images, which is checked below.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                _check(image)
                image.load()
                return Picture(_upright(image))
    except UnidentifiedImageError:
        problem = "is no PNG, JPEG, WebP or BMP image, whatever its name says." if content else "is empty."
        raise IngestError(problem, file=file, entry=entry) from None
    except Image.DecompressionBombError:
        raise IngestError(_too_large(), file=file, entry=entry) from None
    except IngestError as error:
        raise IngestError(error.problem, file=file, entry=entry) from None
    except Exception as error:
        # A decoder raises whatever a stranger's bytes lead it to.
        raise IngestError(f"is damaged or cut short ({error}).", file=file, entry=entry) from error


def _check(image: Image.Image) -> None:
    """Before anything is unpacked."""
    if image.width * image.height > MOST_PIXELS:
        raise IngestError(_too_large(f"{image.width:,} x {image.height:,} pixels"))
    if getattr(image, "n_frames", 1) > 1:
        raise IngestError(f"is animated, with {image.n_frames:,} frames; still images are taken.")  # type: ignore[attr-defined]
    if image.mode in _DEEP:
        raise IngestError("has 16 bits or more a channel. Save it with 8 bits.")
    if image.mode not in _PLAIN:
        raise IngestError(f"has {image.mode} colours. Save it in RGB or grey.")


def _too_large(size: str = "") -> str:
    return f"is too large{f' ({size})' if size else ''}; up to {MOST_PIXELS // 1_000_000} million pixels are taken."


def _upright(image: Image.Image) -> Image.Image:
    """Turned as the camera says."""
    turned = image.getexif().get(_ORIENTATION, _UPRIGHT) != _UPRIGHT
    return ImageOps.exif_transpose(image) if turned else image.copy()

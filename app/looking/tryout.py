"""An image from outside, made like the training images, and what a run's network says of it."""

from __future__ import annotations

import base64
import io
import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from pydantic import BaseModel, Field

from app.forms import FormError
from app.looking import images
from app.sidecar import Sidecar
from trainer.packing import pack, unpack
from trainer.sources import ImageSet

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
MOST_PIXELS = 40_000_000
LEAST_SIDE = 4
TOP = 5
_SHEET_COLUMNS = 8
_BACKGROUND = 0.1
"""Of white: what is darker counts as background when the object is cut out."""

Invert = Literal["auto", "yes", "no"]


class Said(BaseModel):
    name: str
    probability: float


class FirstLayer(BaseModel):
    """Pictures of up to 64 units of the first layer, eight a row: grey is zero, white the most, black the least."""

    name: str
    units: int
    filters: str = Field(description="What each looks for, as a data URL of a PNG.")
    activations: str | None = Field(description="What each found in the image; null for a fully connected layer.")


class Prediction(BaseModel):
    top: list[Said] = Field(description="The five most probable classes.")
    prepared: str = Field(description="What the network was shown, as a data URL of a PNG.")
    inverted: bool
    size: list[int] = Field(description="Width and height of what was sent.")
    heat: list[list[float]] = Field(
        description="How much covering a place lowers the probability of the first class; rows of what was shown."
    )
    first_layer: FirstLayer | None


def predict(
    sidecar: Sidecar, weights: Path, content: bytes, like: ImageSet, *, invert: Invert, crop: bool
) -> Prediction:
    """Raises `FormError` at the field `image`, `SidecarError` where nobody answers."""
    picture = decoded(content)
    pixels, inverted = prepared(picture, like, invert=invert, crop=crop)
    answer = sidecar.ask({"predict": str(weights), **pack(pixels)})
    ranked = sorted(zip(answer["probabilities"], answer["classes"], strict=True), reverse=True)[:TOP]
    return Prediction(
        top=[Said(name=name, probability=probability) for probability, name in ranked],
        prepared=_data_url(pixels),
        inverted=inverted,
        size=list(picture.size),
        heat=answer["heat"],
        first_layer=_layer(answer["first_layer"]) if answer["first_layer"] else None,
    )


def _layer(told: dict[str, Any]) -> FirstLayer:
    activations = told["activations"] and _data_url(_sheet(unpack(told["activations"])))
    return FirstLayer(
        name=told["name"],
        units=told["units"],
        filters=_data_url(_sheet(unpack(told["filters"]))),
        activations=activations,
    )


def _sheet(maps: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """[F, h, w, C] -> one picture, `_SHEET_COLUMNS` a row, black lines between."""
    count, h, w, channels = maps.shape
    columns = min(count, _SHEET_COLUMNS)
    rows = -(-count // columns)
    cells = np.zeros((rows * columns, h + 1, w + 1, channels), np.uint8)
    cells[:count, :h, :w] = maps
    return images.tiled(cells.reshape(rows, columns, h + 1, w + 1, channels))[:-1, :-1]


def _data_url(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> str:
    return f"data:image/png;base64,{base64.b64encode(images.png(pixels)).decode()}"


def decoded(content: bytes) -> Image.Image:
    """A picture of any kind that people have, as RGB on white. Raises `FormError` at `image`."""
    if not content:
        raise FormError({"image": "Is empty."})
    try:
        with warnings.catch_warnings():
            # Pillow warns of odd metadata, which does not matter here, and of large images, which are refused below.
            warnings.simplefilter("ignore")
            picture = Image.open(io.BytesIO(content), formats=FORMATS)
            _check(picture)
            # A JPEG may be unpacked at a fraction of its size at once, which is all that is needed.
            picture.draft("RGB", (1024, 1024))
            picture.thumbnail((1024, 1024))
            return _flat(ImageOps.exif_transpose(picture))
    except FormError:
        raise
    except UnidentifiedImageError:
        raise FormError({"image": "Is not a PNG, JPEG, WebP, BMP or GIF image."}) from None
    except Image.DecompressionBombError:
        raise FormError({"image": f"Has more than {MOST_PIXELS // 10**6} megapixels."}) from None
    except Exception as error:
        # A decoder raises whatever a stranger's bytes lead it to.
        raise FormError({"image": f"Cannot be read: {error}."}) from error


def _check(picture: Image.Image) -> None:
    """Before anything is unpacked. Raises `FormError`."""
    width, height = picture.size
    if width * height > MOST_PIXELS:
        raise FormError(
            {"image": f"Has {width:,} x {height:,} pixels; {MOST_PIXELS // 10**6} megapixels are the most."}
        )
    if min(width, height) < LEAST_SIDE:
        raise FormError({"image": f"Has {width} x {height} pixels; there must be at least {LEAST_SIDE} each way."})
    if getattr(picture, "n_frames", 1) > 1:
        raise FormError({"image": "Is animated; choose a picture that stands still."})


def _flat(picture: Image.Image) -> Image.Image:
    """RGB; what is transparent becomes white, 16 bits become 8."""
    if picture.mode.startswith("I;16") or picture.mode in ("I", "F"):
        values = np.asarray(picture, np.float64)
        most = 65535.0 if values.max() > 255 else 255.0
        picture = Image.fromarray((values.clip(0, most) / most * 255).astype(np.uint8))
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return picture.convert("RGB")


def prepared(
    picture: Image.Image, like: ImageSet, *, invert: Invert, crop: bool
) -> tuple[np.ndarray[Any, np.dtype[np.uint8]], bool]:
    """uint8 [H, W, C] as the training images are, and whether it was inverted.

    Grey sets of the MNIST kind show a bright object that fills a black square: a picture on a light ground is
    inverted, and the object is cut out. Colour pictures are only fitted into the square.
    """
    height, width, channels = like.images.shape[1:]
    if channels == 3:
        return np.asarray(ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS)), False
    grey = ImageOps.grayscale(picture)
    inverted = invert == "yes" or (invert == "auto" and _light_ground(grey) and not _light_ground_of(like))
    if inverted:
        grey = ImageOps.invert(grey)
    if crop:
        grey = _cut_out(grey)
    square = ImageOps.pad(grey, (width, height), Image.Resampling.LANCZOS, color=0)
    return np.asarray(square)[:, :, np.newaxis], inverted


def _light_ground(grey: Image.Image) -> bool:
    """Whether the border is rather white than black."""
    values = np.asarray(grey)
    border = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
    return bool(np.median(border) > 127)


def _light_ground_of(like: ImageSet) -> bool:
    first = np.asarray(like.images[:64, :, :, 0])
    return bool(np.median(first[:, [0, -1], :]) > 127)


def _cut_out(grey: Image.Image) -> Image.Image:
    """The box around what is brighter than the background; everything where nothing is."""
    ground = int(np.median(np.asarray(grey)[[0, -1]]))
    box = grey.point(lambda value: 255 * (abs(value - ground) > 255 * _BACKGROUND)).getbbox()
    return grey.crop(box) if box else grey

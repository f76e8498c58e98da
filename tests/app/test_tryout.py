"""Images from outside: read, refused in words, made like the training images, classified."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest
from PIL import Image
from safetensors import safe_open

from app.forms import FormError
from app.looking import tryout
from trainer import sources

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from starlette.testclient import TestClient

    from app.config import Settings


@pytest.fixture(scope="module")
def home_with_data(lasting_home: Settings) -> Settings:
    return lasting_home


@pytest.fixture(scope="module")
def client(lasting_client: TestClient) -> TestClient:
    return lasting_client


def encoded(picture: Image.Image, kind: str = "png", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def huge_png(side: int) -> bytes:
    """A valid header of side x side pixels, and next to nothing behind it."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">2I5B", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


SMALL = Image.fromarray(np.arange(64 * 64).reshape(64, 64).astype(np.uint8))
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8))
ANIMATED = encoded(SMALL, "gif", save_all=True, append_images=[SMALL.rotate(90)])
ODD_EXIF = b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(
    ">HHHLHHHHL4sL", 2, 0x112, 3, 1, 6, 0, 0x155, 2, 4, b"abc\0", 0
)  # fmt: skip
"""To be turned, and with a text where a number belongs: Pillow reads that but cannot write it again."""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "Is empty."),
        (b"hello", "Is not a PNG, JPEG, WebP, BMP or GIF image."),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "Is not a PNG"),
        (encoded(SMALL, "tiff"), "Is not a PNG"),
        (encoded(NOISE)[:1000], "Cannot be read"),
        (ANIMATED[: len(ANIMATED) // 2], "Cannot be read"),
        (encoded(SMALL, "jpeg", exif=ODD_EXIF), "Cannot be read"),
        (encoded(Image.new("L", (1, 1))), "Has 1 x 1 pixels; there must be at least 4"),
        (encoded(Image.new("L", (2000, 3))), "Has 2000 x 3 pixels"),
        (ANIMATED, "Is animated"),
        (huge_png(10_000), "Has 10,000 x 10,000 pixels; 40 megapixels are the most."),
        (huge_png(60_000), "megapixels"),
    ],
    ids=[
        "empty",
        "text",
        "svg",
        "tiff",
        "truncated",
        "cut between frames",
        "odd Exif",
        "1x1",
        "flat",
        "animated",
        "100 MP",
        "3,600 MP",
    ],
)
def test_what_is_no_picture_to_classify_is_refused_in_words(content: bytes, message: str):
    before = psutil.Process().memory_info().rss
    with pytest.raises(FormError) as caught:
        tryout.decoded(content)
    assert message in caught.value.errors["image"]
    assert psutil.Process().memory_info().rss - before < 50e6


@pytest.mark.parametrize(
    ("picture", "kind"),
    [
        (SMALL, "png"),
        (SMALL.convert("RGB"), "jpeg"),
        (SMALL.convert("CMYK"), "jpeg"),
        (SMALL.convert("RGB"), "webp"),
        (SMALL.convert("P"), "gif"),
        (SMALL.convert("1"), "bmp"),
        (SMALL.convert("LA"), "png"),
        (Image.fromarray((np.arange(64 * 64) * 16).astype(np.uint16).reshape(64, 64)), "png"),
    ],
    ids=["grey", "jpeg", "cmyk", "webp", "gif", "1 bit", "grey and alpha", "16 bit"],
)
def test_pictures_of_any_kind_become_rgb(picture: Image.Image, kind: str):
    found = tryout.decoded(encoded(picture, kind))
    assert (found.mode, found.size) == ("RGB", (64, 64))
    values = np.asarray(found)
    assert values.max() > 180
    assert values.min() < 70


def test_what_is_transparent_becomes_white():
    clear = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    assert (np.asarray(tryout.decoded(encoded(clear))) == 255).all()


@pytest.fixture
def like(data_dir: Path) -> sources.ImageSet:
    return sources.load("fashion-mnist", "train", data_dir)


def black_square_on_white(place: tuple[int, int]) -> Image.Image:
    picture = Image.new("RGB", (200, 160), "white")
    picture.paste((0, 0, 0), (*place, place[0] + 40, place[1] + 40))
    return picture


def test_a_dark_thing_on_a_light_ground_is_inverted_and_cut_out(like: sources.ImageSet):
    pixels, inverted = tryout.prepared(black_square_on_white((100, 20)), like, invert="auto", crop=True)
    assert inverted
    assert pixels.shape == (28, 28, 1)
    assert (pixels > 250).mean() > 0.9


def test_it_is_left_as_it_is_where_that_is_asked_for(like: sources.ImageSet):
    """200 x 160 in a square: black bars above and below, white, and the small dark thing in it."""
    pixels, inverted = tryout.prepared(black_square_on_white((100, 20)), like, invert="no", crop=False)
    assert not inverted
    assert pixels[0].max() == 0
    assert 0.5 < (pixels > 200).mean() < 0.8


def test_training_images_come_back_nearly_as_they_were(like: sources.ImageSet):
    for index in range(10):
        image = np.asarray(like.images[index, :, :, 0])
        large = Image.fromarray(image).resize((280, 280), Image.Resampling.NEAREST)
        pixels, inverted = tryout.prepared(large.convert("RGB"), like, invert="auto", crop=False)
        assert not inverted
        assert np.abs(pixels[:, :, 0].astype(int) - image).mean() < 10


def test_the_network_says_of_a_validation_image_what_it_said_in_training(
    client: TestClient, trained: int, data_dir: Path
):
    images = sources.load("fashion-mnist", "val", data_dir).images
    for item in client.get(f"/api/v1/runs/{trained}/predictions").json()["items"][:10]:
        body = encoded(Image.fromarray(np.asarray(images[item["index"], :, :, 0])))
        answer = client.post(f"/api/v1/runs/{trained}/predict?crop=false&invert=no", content=body)
        told = answer.json()
        assert answer.status_code == 200, told
        # Validation may compute in bfloat16, the Try page never does: of two classes nearly alike either may win.
        said = {entry["name"]: entry["probability"] for entry in told["top"]}
        assert said[item["predicted_name"]] == pytest.approx(item["confidence"], abs=0.03)
        assert len(told["top"]) == 5
        assert np.shape(told["heat"]) == (28, 28)
        assert 0 <= np.min(told["heat"]) <= np.max(told["heat"]) <= 1


def picture_of(url: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/png;base64,")))))


def test_the_first_layer_shows_what_it_looks_for_and_what_it_found(
    client: TestClient, trained: int, data_dir: Path, home_with_data: Settings
):
    image = np.asarray(sources.load("fashion-mnist", "val", data_dir).images[3, :, :, 0])
    answer = client.post(
        f"/api/v1/runs/{trained}/predict?crop=false&invert=no", content=encoded(Image.fromarray(image))
    )
    layer = answer.json()["first_layer"]
    assert (layer["name"], layer["units"]) == ("Conv2d", 32)
    filters, activations = picture_of(layer["filters"]), picture_of(layer["activations"])
    assert filters.shape == (4 * 6 - 1, 8 * 6 - 1)
    assert activations.shape == (4 * 25 - 1, 8 * 25 - 1)
    with safe_open(home_with_data.weights(trained), framework="np") as file:
        weights = file.get_tensor("0.weight")[:, 0]
    # The tenth stands second in the second row.
    assert np.abs(filters[6:11, 6:11] - (128 + 127 * weights[9] / np.abs(weights).max())).max() <= 1
    assert np.ptp(activations[:24, :24]) > 0


def test_a_fully_connected_layer_has_filters_of_the_images_size(client: TestClient, run_for_real: Callable[..., int]):
    run_id = run_for_real(train_size=256, val_size=50, epochs=1, batch_size=64, arch="mlp", mlp_width=70)
    layer = client.post(f"/api/v1/runs/{run_id}/predict", content=encoded(SMALL)).json()["first_layer"]
    assert (layer["name"], layer["units"], layer["activations"]) == ("Linear", 70, None)
    assert picture_of(layer["filters"]).shape == (8 * 29 - 1, 8 * 29 - 1)


def test_an_image_that_cannot_be_read_is_a_422_at_its_field(client: TestClient, trained: int):
    answer = client.post(f"/api/v1/runs/{trained}/predict", content=b"hello")
    assert answer.status_code == 422
    assert set(answer.json()["errors"]) == {"image"}
    assert client.post(f"/api/v1/runs/{trained}/predict", content=bytes(9_000_000)).status_code == 413
    assert client.get(f"/runs/{trained}/try").status_code == 200


def test_a_run_without_weights_says_so(client: TestClient):
    run_id = client.post("/api/v1/runs", json={}).json()["id"]
    assert client.post(f"/api/v1/runs/{run_id}/predict", content=encoded(SMALL)).status_code == 404
    assert "Its weights come with the first epoch." in client.get(f"/runs/{run_id}/try").text
    client.delete(f"/api/v1/runs/{run_id}")

"""Files as people have them, made of real images, and the way by which they come in."""

from __future__ import annotations

import io
import time
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from trainer import sources
from trainer.sources import FASHION_MNIST

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from starlette.testclient import TestClient

PIECE = "application/offset+octet-stream"


def as_csv(data_dir: Path, count: int, *, delimiter: str = ",", first: int = 0, words: bool = False) -> bytes:
    """So many real training images in Kaggle's layout; with `words`, classes by name."""
    found = sources.load("fashion-mnist", "train", data_dir)
    chosen = slice(first, first + count)
    names = FASHION_MNIST if words else tuple(map(str, range(10)))
    lines = [delimiter.join(["label", *(f"pixel{n}" for n in range(1, 785))])]
    for image, label in zip(found.images[chosen], found.labels[chosen], strict=True):
        lines.append(delimiter.join([names[label], *map(str, image.ravel().tolist())]))
    return "\n".join(lines).encode() + b"\n"


def as_zip(data_dir: Path, count: int, classes: tuple[int, ...] = (0, 1, 8)) -> bytes:
    """The first training images of some classes as PNG, one folder a class."""
    found = sources.load("fashion-mnist", "train", data_dir)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for label in classes:
            for place in np.flatnonzero(found.labels == label)[:count]:
                picture = io.BytesIO()
                Image.fromarray(found.images[place, :, :, 0]).save(picture, "png")
                name = FASHION_MNIST[label].replace("/", "-")
                packed.writestr(f"{name}/{place}.png", picture.getvalue())
    return buffer.getvalue()


def upload(client: TestClient, *files: tuple[str, bytes], name: str = "shoes") -> str:
    """All of it at once; gives the address of the upload under /api/v1."""
    announced = [{"filename": filename, "size": len(content)} for filename, content in files]
    told = client.post("/api/v1/uploads", json={"name": name, "files": announced}).json()
    for (_, content), file in zip(files, told["files"], strict=True):
        headers = {"Upload-Offset": "0", "Content-Type": PIECE}
        assert client.patch(file["url"], content=content, headers=headers).status_code == 204
    return f"/api/v1/uploads/{told['id']}"


def reading(client: TestClient, address: str, *, until: Callable[[dict[str, Any]], bool] | None = None) -> Any:
    """What was found in it, once that is over (or `until` says so)."""
    true = until or (lambda told: told["stage"] in ("ready", "failed"))
    deadline = time.monotonic() + 60
    while True:
        told = client.get(address).json()["reading"]
        if told and true(told):
            return told
        assert time.monotonic() < deadline, f"still {told}"
        time.sleep(0.02)


def kept(client: TestClient, *files: tuple[str, bytes], name: str = "shoes", **card: str) -> dict[str, Any]:
    """A data set made of these files, as the API tells it."""
    address = upload(client, *files)
    told = reading(client, address)
    assert told["stage"] == "ready", told["error"]
    answer = client.post(f"{address}/accept", json={"name": name, **card})
    assert answer.status_code in (200, 201), answer.text
    return answer.json()  # type: ignore[no-any-return]

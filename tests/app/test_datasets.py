"""The pages of the data sets, and the augmentation preview."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from trainer import sources

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.testclient import TestClient

    from app.config import Settings

FASHION = "/datasets/fashion-mnist"


def indices(page: str) -> list[int]:
    """Of the images on a page, in its order."""
    return [int(number) for number in re.findall(rf'<li><a href="{FASHION}/\w+/(\d+)">', page)]


def pixels(client: TestClient, address: str) -> np.ndarray:
    answer = client.get(address)
    assert answer.headers["content-type"] == "image/png"
    return np.array(Image.open(io.BytesIO(answer.content)))


def test_the_list_shows_each_data_set_with_its_size(client: TestClient):
    page = client.get("/datasets").text
    assert "60,000" in page
    assert "28 × 28 × 1" in page


def test_a_data_set_shows_its_balance_and_its_first_images(client: TestClient):
    page = client.get(FASHION).text
    assert page.count("6,000") == 10
    assert indices(page) == list(range(64))
    assert "Page 1 of 938" in page


def test_images_are_those_of_the_class_and_split_asked_for(client: TestClient, data_dir: Path):
    labels = sources.load("fashion-mnist", "val", data_dir).labels
    page = client.get(f"{FASHION}?split=val&label=6&page=2").text
    assert indices(page) == np.flatnonzero(labels == 6)[64:128].tolist()


def test_shuffling_is_the_same_for_the_same_seed_and_shows_every_image_once(client: TestClient):
    first = indices(client.get(f"{FASHION}?seed=1&split=val").text)
    assert first == indices(client.get(f"{FASHION}?seed=1&split=val").text)
    assert first != indices(client.get(f"{FASHION}?seed=2&split=val").text)
    all_pages = [indices(client.get(f"{FASHION}?seed=1&split=val&label=3&page={page}").text) for page in range(1, 17)]
    assert len({place for part in all_pages for place in part}) == sum(map(len, all_pages)) == 1000


def test_a_form_with_empty_fields_is_fine_and_a_number_leads_to_its_image(client: TestClient):
    assert client.get(f"{FASHION}?split=train&label=&seed=&index=").status_code == 200
    answer = client.get(f"{FASHION}?split=val&label=&seed=&index=77")
    assert answer.url.path == f"{FASHION}/val/77"


def test_an_image_is_shown_with_its_label_and_every_pixel(client: TestClient, data_dir: Path):
    stored = sources.load("fashion-mnist", "train", data_dir)
    page = client.get(f"{FASHION}/train/5").text
    cells = re.findall(r"<td (?:class=\"soft\")?>(\d+)</td>", page)
    assert [int(cell) for cell in cells] == stored.images[5].ravel().tolist()
    assert stored.classes[int(stored.labels[5])] in page


def test_the_mean_images_are_the_means(client: TestClient, data_dir: Path):
    stored = sources.load("fashion-mnist", "val", data_dir)
    sheet = pixels(client, f"{FASHION}/val/means.png")
    for label in (0, 9):
        mean = stored.images[stored.labels == label][..., 0].mean(0)
        assert np.abs(sheet[:28, 28 * label : 28 * (label + 1)] - mean).max() <= 0.5


@pytest.mark.parametrize(
    "path",
    [
        "/datasets/none",
        "/datasets/..%2f..",
        f"{FASHION}?page=939",
        f"{FASHION}?label=10",
        f"{FASHION}/train/60000",
        f"{FASHION}/train/-1",
        f"{FASHION}/test/1",
        "/datasets/csv:none/train/means.png",
    ],
)
def test_what_is_not_there_says_so(client: TestClient, path: str):
    assert client.get(path).status_code in (404, 422)


def test_colour_images_that_are_not_square_are_shown(client: TestClient, home_with_data: Settings):
    folder = home_with_data.data_dir / "csv" / "flags"
    folder.mkdir(parents=True)
    (folder / "train.csv").write_text(
        "".join(f"{n % 2},{','.join([str(n * 10), '128', '255'] * 4)}\n" for n in range(24))
    )
    assert "is read when a run on it starts" in client.get("/datasets").text
    sources.load("csv:flags", "train", home_with_data.data_dir)
    assert client.get("/datasets/csv:flags").status_code == 200
    assert "0a80ff" in client.get("/datasets/csv:flags/train/1").text
    assert pixels(client, "/datasets/csv:flags/train/images/1.png")[0, 0].tolist() == [10, 128, 255]


def test_the_preview_shows_images_as_they_are_and_as_they_are_fed(client: TestClient, data_dir: Path):
    stored = sources.load("fashion-mnist", "train", data_dir).images
    plain = pixels(client, "/api/v1/augmented.png?normalize=true")
    assert plain.shape == (4 * 28, 12 * 28)
    for place in (0, 11):
        column = plain[:, 28 * place : 28 * (place + 1)].reshape(4, 28, 28)
        assert all((image == stored[place, :, :, 0]).all() for image in column)
    flipped = pixels(client, "/api/v1/augmented.png?flip=true").reshape(4, 28, 12, 28)
    originals = stored[:12, :, :, 0].transpose(1, 0, 2)
    assert (flipped[0] == originals).all()
    mirrored = [(flipped[1, :, n] == originals[:, n, ::-1]).all() for n in range(12)]
    assert 0 < sum(mirrored) < 12


def test_a_preview_of_nonsense_is_refused_at_the_field(client: TestClient):
    answer = client.get("/api/v1/augmented.png?shift=many")
    assert answer.status_code == 422
    assert answer.json()["errors"] == {"shift": "Must be a whole number."}
    missing = client.get("/api/v1/augmented.png?dataset=csv:none").json()
    assert "There is no CSV file" in missing["errors"]["dataset"]


def test_images_that_both_splits_hold_are_shown_with_their_twins(client: TestClient, home_with_data: Settings):
    """Eight of twenty validation images are training images, one of them with another label."""
    random = np.random.default_rng(0)
    train = random.integers(0, 256, (100, 16), np.uint8)
    val = random.integers(0, 256, (20, 16), np.uint8)
    val[:8] = train[10:18]
    folder = home_with_data.data_dir / "csv" / "twins"
    folder.mkdir(parents=True)
    labels = random.integers(0, 3, 100)
    labels_of = {"train": labels, "val": np.concatenate([labels[10:18], labels[:12]])}
    labels_of["val"][3] = (labels_of["val"][3] + 1) % 3
    for name, images in (("train", train), ("val", val)):
        table = np.column_stack([labels_of[name], images])
        np.savetxt(folder / f"{name}.csv", table, "%d", delimiter=",")
    sources.load("csv:twins", "train", home_with_data.data_dir)
    sources.load("csv:twins", "val", home_with_data.data_dir)
    text = re.sub(r"<[^>]+>", "", client.get("/datasets/csv:twins/duplicates").text)
    assert "8 validation images are in the training set pixel by pixel" in text
    assert "differ from one there by less than 10 grey levels" in text
    assert text.count("equal") == 8
    assert len(list(home_with_data.cache_dir.glob("duplicates-*.json"))) == 1
    assert client.get("/datasets/csv:twins/duplicates").status_code == 200


def test_near_duplicates_of_no_data_set_are_not_looked_for(client: TestClient):
    assert client.get("/datasets/none/duplicates").status_code == 404
    assert client.get("/datasets/csv:none/duplicates").status_code == 404


def test_a_picture_asked_for_again_is_not_sent_again(client: TestClient):
    for address in (
        f"{FASHION}/train/images/0.png",
        f"{FASHION}/val/sprite.png?indices=1,2",
        f"{FASHION}/val/means.png",
    ):
        first = client.get(address)
        assert "immutable" in first.headers["cache-control"]
        again = client.get(address, headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert client.get(address, headers={"If-None-Match": '"other"'}).content == first.content

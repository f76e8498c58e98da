"""What was uploaded is read apart from the server, shown, corrected, and kept at last."""

from __future__ import annotations

import io
import json
import re
import sqlite3
import zipfile
from contextlib import closing
from typing import TYPE_CHECKING

import anyio
import numpy as np
import pytest
from PIL import Image
from starlette.requests import ClientDisconnect, Request
from starlette.testclient import TestClient

from app.data_sets.child import Child
from app.data_sets.multipart import receive_form
from app.data_sets.uploads import Uploads
from app.main import create_app
from tests.app.bringing import as_csv, kept, reading, upload
from trainer import sources

if TYPE_CHECKING:
    from pathlib import Path

    from app.config import Settings
    from tests.conftest import FakeClock


def page_of(address: str) -> str:
    return f"/datasets/uploads/{address.rpartition('/')[2]}"


def test_a_csv_file_becomes_a_data_set_with_its_pixels(client: TestClient, data_dir: Path, home_with_data: Settings):
    made = kept(client, ("train.csv", as_csv(data_dir, 300)), source="Zalando", licence="MIT", notes="Two\nlines.")
    assert (made["id"], made["shape"], made["train"] + made["val"]) == ("set:shoes@1", [28, 28, 1], 300)
    assert (made["source"], made["licence"], made["notes"]) == ("Zalando", "MIT", "Two\nlines.")
    found = sources.load("set:shoes@1", "train", home_with_data.data_dir)
    real = {image.tobytes() for image in sources.load("fashion-mnist", "train", data_dir).images[:300]}
    assert {image.tobytes() for image in found.images} <= real
    assert list(home_with_data.uploads_dir.iterdir()) == []
    with closing(sqlite3.connect(home_with_data.database)) as connection:
        assert connection.execute("SELECT who, action, detail FROM audit").fetchall() == [
            ("local", "kept", "set:shoes@1")
        ]


def test_the_preview_shows_shape_classes_balance_images_and_asks_nothing_that_is_clear(
    client: TestClient, data_dir: Path
):
    address = upload(client, ("train.csv", as_csv(data_dir, 300, words=True)))
    told = reading(client, address)
    page = client.get(page_of(address)).text
    assert "28 × 28 × 1" in page
    assert "Ankle boot" in page
    assert page.count('class="n"') >= 2 * 10
    assert "could not be told" not in page
    assert sum(told["converted"]["train"] + told["converted"]["val"]) == 300
    sheet = re.search(r'href="(/datasets/uploads/[^"]+sprite\.png[^"]+)"', page)
    assert sheet
    assert client.get(sheet[1].replace("&amp;", "&")).headers["content-type"] == "image/png"
    assert client.get(f"{page_of(address)}/sample.png").content.startswith(b"\x89PNG")


def test_a_correction_is_read_anew_and_all_else_stays_a_guess(client: TestClient, data_dir: Path):
    address = upload(client, ("train.csv", as_csv(data_dir, 120)))
    assert reading(client, address)["guess"]["choices"]["header"] is True
    form = {"kind": "csv", "delimiter": "comma", "header": "true", "label": "0", "shape": "14x56", "val_fraction": "25"}
    assert client.post(page_of(address), data=form, follow_redirects=False).status_code == 303
    told = reading(client, address)
    assert told["choices"] == {"shape": [14, 56, 1], "val_fraction": 0.25}
    assert told["converted"]["shape"] == [14, 56, 1]
    client.post(page_of(address), data={"again": "1"})
    assert reading(client, address)["converted"]["shape"] == [28, 28, 1]


def test_classes_get_the_names_that_were_typed(client: TestClient, data_dir: Path):
    address = upload(client, ("train.csv", as_csv(data_dir, 200)))
    reading(client, address)
    names = [f"Kind {n}" for n in range(10)]
    client.post(page_of(address), data={"classes": "\r\n".join(names)})
    assert reading(client, address)["converted"]["classes"] == names


def test_corrections_that_make_no_sense_are_refused_at_their_fields(client: TestClient, data_dir: Path):
    address = upload(client, ("train.csv", as_csv(data_dir, 50)))
    reading(client, address)
    wrong = {"shape": "large", "val_fraction": "200", "seed": "x", "delimiter": "pipe"}
    page = client.post(page_of(address), data=wrong)
    assert page.status_code == 422
    for name in ("shape", "val_fraction", "seed"):
        assert f'id="error-{name}"' in page.text
    assert client.post(f"{address}/preview", json={"delimiter": "|"}).status_code == 422
    assert reading(client, address)["stage"] == "ready"


def test_what_cannot_be_read_says_so_at_its_file_and_can_be_corrected(client: TestClient, data_dir: Path):
    broken = as_csv(data_dir, 50).replace(b"\n9,", b"\n9,999,", 1)
    address = upload(client, ("good.csv", broken))
    told = reading(client, address)
    assert told["stage"] == "failed"
    assert told["error"]["file"] == "good.csv"
    assert told["error"]["line"] >= 2
    page = client.get(page_of(address)).text
    assert "It cannot be read like this" in page
    assert f"line {told['error']['line']}" in page
    assert 'id="field-delimiter"' in page
    assert client.post(f"{address}/accept", json={"name": "x"}).status_code == 409


@pytest.mark.parametrize("name", ["", "a b", "../x", "x" * 65, "<script>", 7, None])
def test_a_name_that_is_none_is_refused_and_nothing_is_lost(client: TestClient, data_dir: Path, name: object):
    address = upload(client, ("train.csv", as_csv(data_dir, 50)))
    reading(client, address)
    answer = client.post(f"{address}/accept", json={"name": name})
    assert answer.status_code == 422
    assert "name" in answer.json()["errors"]
    assert client.post(f"{address}/accept", json={"name": "fine"}).status_code == 201


def test_the_same_name_again_is_a_new_version_and_the_same_content_is_found_again(client: TestClient, data_dir: Path):
    first = as_csv(data_dir, 60)
    assert kept(client, ("a.csv", first))["id"] == "set:shoes@1"
    assert kept(client, ("b.csv", as_csv(data_dir, 60, first=60)))["id"] == "set:shoes@2"
    again = upload(client, ("c.csv", first))
    reading(client, again)
    assert "This is what" in client.get(page_of(again)).text
    answer = client.post(f"{again}/accept", json={"name": "other"})
    assert (answer.status_code, answer.json()["id"]) == (200, "set:shoes@1")


def test_two_uploads_of_one_name_at_once_both_get_in(client: TestClient, data_dir: Path):
    addresses = [upload(client, (f"{n}.csv", as_csv(data_dir, 40, first=40 * n))) for n in range(2)]
    for address in addresses:
        reading(client, address)
    made = [client.post(f"{address}/accept", json={"name": "same"}).json()["id"] for address in addresses]
    assert sorted(made) == ["set:same@1", "set:same@2"]


def test_a_restarted_server_shows_what_was_found_and_reads_what_it_had_not(
    home_with_data: Settings, clock: FakeClock, data_dir: Path
):
    with TestClient(create_app(home_with_data, clock=clock), base_url="http://localhost") as client:
        done = upload(client, ("a.csv", as_csv(data_dir, 60)))
        reading(client, done)
        begun = upload(client, ("b.csv", as_csv(data_dir, 60)))
        client.post(f"{begun}/preview", json={"seed": 5})
    with TestClient(create_app(home_with_data, clock=clock), base_url="http://localhost") as client:
        assert client.get(done).json()["reading"]["stage"] == "ready"
        told = reading(client, begun)
        assert (told["stage"], told["choices"]) == ("ready", {"seed": 5})


def test_discarding_ends_the_reading_and_leaves_nothing(client: TestClient, data_dir: Path, home_with_data: Settings):
    address = upload(client, ("a.csv", as_csv(data_dir, 2000)))
    reading(client, address, until=lambda told: told["stage"] == "converting" or told["stage"] == "ready")
    assert client.delete(address).status_code == 204
    assert client.get(address).status_code == 404
    assert list(home_with_data.uploads_dir.rglob("*")) == []


def test_a_correction_while_it_is_being_read_takes_its_place(client: TestClient, data_dir: Path):
    address = upload(client, ("a.csv", as_csv(data_dir, 3000)))
    for seed in (1, 2, 3):
        reading(client, address, until=lambda told: told["stage"] in ("looking", "converting", "checking", "ready"))
        assert client.post(f"{address}/preview", json={"seed": seed}).status_code == 202
    told = reading(client, address)
    assert (told["stage"], told["choices"]) == ("ready", {"seed": 3})


def test_a_plain_form_brings_files_too(client: TestClient, data_dir: Path, home_with_data: Settings):
    train, val = as_csv(data_dir, 80), as_csv(data_dir, 40, first=80)
    files = [("files", ("train.csv", train)), ("files", ("test.csv", val))]
    answer = client.post("/datasets/upload", data={"name": "plain"}, files=files, follow_redirects=False)
    assert answer.status_code == 303
    address = f"/api/v1/uploads/{answer.headers['location'].rpartition('/')[2]}"
    assert [path.read_bytes() for path in sorted(home_with_data.uploads_dir.glob("*/[0-9]"))] == [train, val]
    told = reading(client, address)
    assert (sum(told["converted"]["train"]), sum(told["converted"]["val"])) == (80, 40)
    page = page_of(address)
    made = client.post(f"{page}/keep", data={"name": "plain", "licence": "MIT"}, follow_redirects=False)
    assert made.headers["location"] == "/datasets/set:plain@1"


MULTIPART = "multipart/form-data; boundary=x"


def part(filename: str, content: str, end: str = "\r\n--x--\r\n") -> bytes:
    return f'--x\r\nContent-Disposition: form-data; name="files"; filename="{filename}"\r\n\r\n{content}{end}'.encode()


@pytest.mark.parametrize(
    ("body", "kind", "status", "words"),
    [
        (b"", MULTIPART, 400, "cut short"),
        (b"hello", MULTIPART, 400, "cannot be read"),
        (b"a=1", "application/x-www-form-urlencoded", 400, ""),
        (part("a.csv", "1,2", end=""), MULTIPART, 400, "cut short"),
        (part("", ""), MULTIPART, 422, "from 1 to"),
        (part("a.csv", ""), MULTIPART, 422, "a.csv is empty"),
    ],
)
def test_a_form_that_is_none_leaves_nothing(
    client: TestClient, home_with_data: Settings, body: bytes, kind: str, status: int, words: str
):
    answer = client.post("/datasets/upload", content=body, headers={"Content-Type": kind})
    assert answer.status_code == status
    assert words in answer.text
    assert not home_with_data.uploads_dir.exists() or list(home_with_data.uploads_dir.iterdir()) == []


def test_names_of_a_stranger_are_text_and_no_markup(client: TestClient, data_dir: Path):
    evil = "<img src=x onerror=alert(1)>\u202eexe.csv"
    address = upload(client, (evil, as_csv(data_dir, 40)), name="<b>bold</b>")
    reading(client, address)
    for page in (client.get(page_of(address)).text, client.get("/datasets/new").text):
        assert "<img src=x" not in page
        assert "\u202e" not in page
        assert "<b>bold" not in page


def test_a_preview_draws_the_images_as_they_were_read(client: TestClient, data_dir: Path, home_with_data: Settings):
    address = upload(client, ("train.csv", as_csv(data_dir, 60)))
    reading(client, address)
    folder = next(home_with_data.uploads_dir.glob("*/converted"))
    stored = np.load(folder / "train-images.npy")
    sheet = client.get(f"{page_of(address)}/train/sprite.png?indices=0,7").content
    drawn = np.array(Image.open(io.BytesIO(sheet)))
    assert (drawn[:28, :28] == stored[0, :, :, 0]).all()
    assert (drawn[:28, 28:56] == stored[7, :, :, 0]).all()


def test_a_plain_form_that_breaks_off_leaves_nothing(tmp_path: Path, clock: FakeClock):
    uploads = Uploads(tmp_path / "uploads", 10**9, clock)
    body = part("a.csv", "1,2\n" * 50_000)
    messages = [
        {"type": "http.request", "body": body[:60_000], "more_body": True},
        {"type": "http.request", "body": body[60_000:150_000], "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> dict[str, object]:
        if len(messages) == 1:
            assert sum(path.stat().st_size for path in uploads.folder.glob("*/0")) > 100_000
        return messages.pop(0)

    headers = [(b"content-type", MULTIPART.encode()), (b"content-length", str(len(body)).encode())]
    request = Request({"type": "http", "method": "POST", "path": "/", "headers": headers}, receive)
    with pytest.raises(ClientDisconnect):
        anyio.run(receive_form, request, uploads, "me")
    assert list(uploads.folder.iterdir()) == []


def test_a_plain_form_may_be_cut_anywhere_on_its_way(tmp_path: Path, clock: FakeClock):
    """The network decides where a block ends, in the middle of a header's name too."""
    uploads = Uploads(tmp_path / "uploads", 10**9, clock)
    name = b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\nshoes\r\n'
    body = name + part("a.csv", "1,2\n")
    headers = [(b"content-type", MULTIPART.encode()), (b"content-length", str(len(body)).encode())]

    def received(*blocks: bytes) -> tuple[str, str, bytes]:
        messages = [{"type": "http.request", "body": block, "more_body": True} for block in blocks]
        messages[-1]["more_body"] = False

        async def receive() -> dict[str, object]:
            return messages.pop(0)

        request = Request({"type": "http", "method": "POST", "path": "/", "headers": headers}, receive)
        made = anyio.run(receive_form, request, uploads, "me")
        content = uploads.path(made.id, "0").read_bytes()
        uploads.remove(made.id)
        return made.name, made.files[0].filename, content

    for place in range(1, len(body)):
        assert received(body[:place], body[place:]) == ("shoes", "a.csv", b"1,2\n"), f"cut at {place}"


def test_a_reading_that_cannot_begin_says_so(client: TestClient, data_dir: Path, monkeypatch: pytest.MonkeyPatch):
    """The kernel starts no process with so long a variable."""
    monkeypatch.setenv("LONG", "x" * 200_000)
    address = upload(client, ("a.csv", as_csv(data_dir, 20)))
    told = reading(client, address)
    assert (told["stage"], "Argument list too long" in told["error"]["message"]) == ("failed", True)
    assert client.delete(address).status_code == 204


def test_an_error_nobody_foresaw_ends_the_reading_even_if_that_cannot_be_written_down(
    client: TestClient, data_dir: Path, home_with_data: Settings, monkeypatch: pytest.MonkeyPatch
):
    def answer_nothing(self: Child, *_: object) -> dict[str, object]:
        kept = next(home_with_data.uploads_dir.glob("*/reading.json"))
        kept.unlink()
        kept.mkdir()
        return {}

    monkeypatch.setattr(Child, "ask", answer_nothing)
    address = upload(client, ("a.csv", as_csv(data_dir, 20)))
    for _ in range(3):
        told = reading(client, address)
        assert (told["stage"], told["error"]) == ("failed", {"message": "Reading it failed; the log says more."})
    assert client.delete(address).status_code == 204


def in_colour(layout: str, count: int = 40) -> bytes:
    """Smooth colour images of 12 x 12 pixels, each class of its own colour, the pixels interleaved or planar."""
    lines, ramp = [], np.linspace(0, 255, 12 * 12).reshape(12, 12, 1)
    for n in range(count):
        tint = np.eye(3)[n % 3] * 0.8 + 0.2
        image = (ramp * tint + n % 7).clip(0, 255).astype(int)
        pixels = image if layout == "interleaved" else image.transpose(2, 0, 1)
        lines.append(",".join(map(str, [n % 3, *pixels.ravel().tolist()])))
    return "\n".join(lines).encode() + b"\n"


@pytest.mark.parametrize("layout", ["interleaved", "planar"])
def test_the_order_of_colours_is_asked_for_and_followed(client: TestClient, home_with_data: Settings, layout: str):
    address = upload(client, ("colour.csv", in_colour(layout)))
    assert reading(client, address)["converted"]["shape"] == [12, 12, 3]
    assert 'id="field-layout"' in client.get(page_of(address)).text
    client.post(page_of(address), data={"layout": layout})
    assert reading(client, address)["converted"]["choices"]["layout"] == layout
    first = np.load(next(home_with_data.uploads_dir.glob("*/converted")) / "train-images.npy")[0]
    assert len({tuple((pixel / max(1, pixel.max())).round(1)) for pixel in first.reshape(-1, 3)[60:]}) <= 3


def test_how_other_proportions_are_treated_is_asked_shown_and_told_by_the_card(client: TestClient):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        for place, width in enumerate((24, 24, 24, 48)):
            for name, level in (("cat", 200), ("dog", 90)):
                picture = io.BytesIO()
                Image.new("L", (width, 24), level + place).save(picture, "png")
                packed.writestr(f"{name}/{place}.png", picture.getvalue())
    address = upload(client, ("pets.zip", out.getvalue()))
    told = reading(client, address)
    assert (told["guess"]["choices"]["fit"], set(told["guess"]["unsure"])) == ("crop", {"size", "fit"})
    page = client.get(page_of(address)).text
    assert "2 have other proportions than 24 x 24" in page
    assert "2 of 8 images had other proportions and were cut to their middle" in page
    client.post(page_of(address), data={"kind": "archive", "size": "24x24", "fit": "pad", "channels": "grey"})
    assert reading(client, address)["choices"] == {"fit": "pad"}
    made = client.post(f"{address}/accept", json={"name": "pets"}).json()
    said = "2 of 8 images had other proportions and were padded with black."
    assert made["read"][-1] == said
    assert said in client.get(f"/datasets/{made['id']}").text
    with zipfile.ZipFile(io.BytesIO(client.get(f"/api/v1/datasets/{made['id']}/npz").content)) as packed:
        assert json.loads(packed.read("card.json"))["read"][-1] == said


def test_which_of_two_files_is_for_validation_can_be_chosen(client: TestClient, data_dir: Path):
    files = ("one.csv", as_csv(data_dir, 60)), ("two.csv", as_csv(data_dir, 40, first=60))
    address = upload(client, *files)
    assert sum(reading(client, address)["converted"]["val"]) == 40
    page = client.get(page_of(address)).text
    assert "could not be told from the files" in page
    client.post(page_of(address), data={"val_file": "one.csv"})
    assert sum(reading(client, address)["converted"]["val"]) == 60
    assert 'id="field-val_fraction"' not in client.get(page_of(address)).text

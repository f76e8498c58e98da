"""Archives of image folders: what is guessed, what is read, and what is refused with the entry's name."""

from __future__ import annotations

import io
import stat
import struct
import tarfile
import zipfile
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from tests.trainer.ingest.conftest import picture, tarred, zipped
from trainer.errors import IngestError
from trainer.ingest import Choices, guess
from trainer.ingest.decoding import decoded

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.trainer.ingest.conftest import Bench
    from trainer.sources import ImageSet

PACKERS: dict[str, Callable[[dict[str, bytes]], bytes]] = {
    "a.zip": zipped,
    "a.tar": tarred,
    "a.tar.gz": lambda entries: tarred(entries, "w:gz"),
}


def folder_of(real: ImageSet, start: int, stop: int, prefix: str = "", **how: object) -> dict[str, bytes]:
    """A folder for each class, under `prefix`."""
    return {
        f"{prefix}{real.classes[label].replace('/', '-')}/{place}.png": picture(real.images[place], **how)
        for place, label in enumerate(real.labels[:stop].tolist())
        if place >= start
    }


def red(size: tuple[int, int] = (8, 8)) -> np.ndarray:
    return np.full((*size, 3), (200, 30, 10), np.uint8)


def two(extra: dict[str, bytes]) -> dict[str, bytes]:
    """Two good classes of three images, and what else."""
    plain = picture(np.full((8, 8, 1), 7, np.uint8))
    return {f"{name}/{place}.png": plain for name in ("cat", "dog") for place in range(3)} | extra


@pytest.mark.parametrize("name", list(PACKERS))
def test_real_images_come_back_as_they_were(bench: Bench, real: ImageSet, name: str):
    packed = folder_of(real, 0, 200, "shoes/train/") | folder_of(real, 200, 300, "shoes/test/")
    file = bench.file(name, PACKERS[name](packed))
    found = guess([file])
    assert (found.choices.size, found.choices.channels, found.unsure) == ((28, 28), "grey", {})
    assert [(part.name, part.role, part.images) for part in found.parts] == [
        ("train/", "train", 200),
        ("test/", "val", 100),
    ]
    assert sum(found.counts or ()) == 300
    made = bench.made(file)
    names = [real.classes[label].replace("/", "-") for label in real.labels[:300]]
    for split, start, stop in (("train", 0, 200), ("val", 200, 300)):
        assert (made.images[split] == real.images[start:stop]).all()
        assert made.named(split) == names[start:stop]


def test_without_a_folder_for_validation_some_of_each_class_are_held_back(bench: Bench, real: ImageSet):
    made = bench.made(bench.file("all.zip", zipped(folder_of(real, 0, 300))))
    assert sum(made.about.train) + sum(made.about.val) == 300
    assert min(made.about.val) >= 1


def test_a_second_folder_beside_that_for_validation_is_left_out_with_a_word(bench: Bench):
    image = picture(red())
    names = [f"{split}/{name}/{place}.png" for split in ("train", "val", "test") for name in "ab" for place in range(2)]
    found = guess([bench.file("a.zip", zipped(dict.fromkeys(names, image)))])
    assert {part.name: part.role for part in found.parts} == {"train/": "train", "val/": "val", "test/": "unused"}
    assert found.notes == ("Left out: 4 images in test/, since another folder is for validation.",)
    assert found.counts == (4, 4)


def test_pictures_without_a_class_and_other_files_are_left_out_with_a_word(bench: Bench):
    packed = two({"README.md": b"#", "__MACOSX/cat/._0.png": b"x", "cat/.DS_Store": b"x", "cat/Thumbs.db": b"x"})
    assert guess([bench.file("a.zip", zipped(packed))]).notes == ("Left out: 1 files that are no images.",)
    packed = {f"train/{name}": content for name, content in two({}).items()} | {"test/1.png": picture(red())}
    assert guess([bench.file("b.zip", zipped(packed))]).notes == ("Left out: 1 files without a class.",)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP"])
def test_every_usual_kind_of_file_is_read_in_colour(bench: Bench, kind: str):
    ending = {"JPEG": "JPG"}.get(kind, kind)
    packed = {f"{name}/{place}.{ending}": picture(red(), kind) for name in ("cat", "dog") for place in range(3)}
    made = bench.made(bench.file("a.zip", zipped(packed)))
    assert made.images["train"].shape[1:] == (8, 8, 3)
    assert np.abs(made.images["train"].astype(int) - (200, 30, 10)).max() <= 4


def test_mixed_sizes_are_brought_to_the_commonest_and_counted(bench: Bench, real: ImageSet):
    large = np.asarray(Image.fromarray(real.images[0, :, :, 0]).resize((60, 40)))[:, :, None]
    file = bench.file("a.zip", zipped(folder_of(real, 0, 100) | {"Bag/large.png": picture(large)}))
    found = guess([file])
    assert found.shape == (28, 28, 1)
    assert "1 have another size than 28 x 28" in found.unsure["size"]
    assert "1 have other proportions than 28 x 28" in found.unsure["fit"]
    assert bench.made(file).about.notes == (
        "1 of 101 images were resized to 28 x 28.",
        "1 of 101 images had other proportions and were cut to their middle.",
    )
    chosen = bench.made_again(file, size=(16, 16), channels="colour", fit="pad")
    assert chosen.about.shape == (16, 16, 3)
    assert chosen.about.notes == (
        "101 of 101 images were resized to 16 x 16.",
        "1 of 101 images had other proportions and were padded with black.",
    )
    assert guess([file], Choices(size=(16, 20), fit="stretch")).unsure == {}


def striped() -> np.ndarray:
    """Twice as wide as high: red at the left, green in the middle half, blue at the right."""
    image = np.zeros((20, 40, 3), np.uint8)
    image[:, :10, 0] = image[:, 10:30, 1] = image[:, 30:, 2] = 255
    return image


@pytest.mark.parametrize(
    ("fit", "seen"),
    [
        ("crop", [(0, 255, 0), (0, 255, 0), (0, 255, 0)]),
        ("pad", [(0, 0, 0), (0, 255, 0), (0, 0, 0)]),
        ("stretch", [(255, 0, 0), (0, 255, 0), (255, 0, 0)]),
    ],
)
def test_what_has_other_proportions_is_cut_padded_or_stretched_in_preview_and_set(
    bench: Bench, fit: str, seen: list[tuple[int, int, int]]
):
    """The middle stays in the middle, upright and lying; `seen` top left, in the middle, and at the left edge."""
    lying, upright = picture(striped()), picture(striped().transpose(1, 0, 2))
    packed = {f"{name}/{place}.png": (lying if name == "a" else upright) for name in "ab" for place in range(2)}
    file = bench.file("a.zip", zipped(packed))
    made = bench.made(file, size=(20, 20), fit=fit)
    shown = guess([file], Choices(size=(20, 20), fit=fit)).sample.images
    for image in (*made.images["train"], *shown):
        turned = image if tuple(image[10, 0]) == seen[-1] else image.transpose(1, 0, 2)
        places = [turned[0, 0], turned[10, 10], turned[10, 0]]
        assert np.abs(np.array(places, int) - np.array(seen)).max() <= 2
    assert made.about.choices.fit == fit


def test_proportions_that_differ_by_less_than_a_pixel_are_the_same(bench: Bench):
    packed = two({}) | {"cat/odd.png": picture(np.full((301, 300, 1), 255, np.uint8))}
    file = bench.file("a.zip", zipped(packed))
    assert "fit" not in guess([file]).unsure
    made = bench.made(file, fit="pad")
    assert made.about.notes == ("1 of 7 images were resized to 8 x 8.",)
    assert any((image == 255).all() for image in (*made.images["train"], *made.images["val"]))


def test_a_large_picture_is_brought_to_what_a_run_can_take(bench: Bench):
    packed = {f"{name}/{place}.png": picture(red((300, 600))) for name in "ab" for place in range(2)}
    found = guess([bench.file("a.zip", zipped(packed))])
    assert found.shape == (112, 224, 3)
    assert "A run takes squares, so it stretches images of 112 x 224" in found.notes[-1]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_camera_held_in_any_way_gives_an_upright_picture(orientation: int):
    upright = Image.new("RGB", (16, 8), "black")
    upright.paste("white", (0, 0, 8, 4))
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}.get(orientation)
    stored = upright if undo is None else upright.transpose(Image.Transpose(undo))
    exif = Image.Exif()
    exif[0x0112] = orientation
    out = io.BytesIO()
    stored.save(out, "PNG", exif=exif)
    read = decoded(out.getvalue(), file="a.zip", entry="x.png")
    assert read.size == (8, 16)
    assert (read.pixels((8, 16), "grey")[:, :, 0] == np.asarray(upright.convert("L"))).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_every_way_to_store_grey_is_grey(mode: str):
    out = io.BytesIO()
    Image.new("L", (4, 4), 255).convert(mode).save(out, "PNG")
    read = decoded(out.getvalue(), file="a.zip", entry="x.png")
    assert not read.is_colour
    assert (read.pixels((4, 4), "colour") == 255).all()


def test_what_is_transparent_is_white():
    read = decoded(picture(np.zeros((4, 4, 4), np.uint8)), file="a.zip", entry="x.png")
    assert (read.pixels((4, 4), "grey") == 255).all()


def frames(kind: str) -> bytes:
    out = io.BytesIO()
    first, *others = (Image.new("RGB", (8, 8), color) for color in ("red", "blue"))
    first.save(out, kind, save_all=True, append_images=others)
    return out.getvalue()


def deep() -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((8, 8), 999, np.uint16)).save(out, "PNG")
    return out.getvalue()


def cmyk() -> bytes:
    out = io.BytesIO()
    Image.new("CMYK", (8, 8)).save(out, "JPEG")
    return out.getvalue()


def claimed(width: int, height: int) -> bytes:
    """A PNG that says it is so large, and holds nothing."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"hello", "is no PNG, JPEG, WebP or BMP image"),
        (frames("GIF"), "is no PNG, JPEG, WebP or BMP image"),
        (frames("PNG"), "is animated, with 2 frames"),
        (frames("WEBP"), "is animated, with 2 frames"),
        (deep(), "has 16 bits or more a channel"),
        (cmyk(), "has CMYK colours"),
        (picture(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))[:3000], "is damaged or cut short"),
        (picture(red((64, 64)), "JPEG")[:400], "is damaged or cut short"),
        (claimed(1_000, 1_000), "is damaged or cut short"),
        (claimed(9_000, 9_000), "is too large (9,000 x 9,000 pixels)"),
        (claimed(60_000, 60_000), "is too large"),
    ],
    ids=["empty", "text", "gif", "apng", "webp", "16 bits", "cmyk", "png", "jpeg", "small", "bomb", "huge bomb"],
)
def test_a_file_that_is_no_plain_picture_is_named(bench: Bench, content: bytes, message: str):
    error = bench.refused(bench.file("a.zip", zipped(two({"cat/odd.png": content}))))
    assert message in str(error)
    assert (error.file, error.entry) == ("a.zip", "cat/odd.png")


@pytest.mark.parametrize("packer", [zipped, tarred])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../cat/x.png", "leads out of the archive"),
        ("/etc/x.png", "leads out of the archive"),
        ("cat/../../x.png", "leads out of the archive"),
        ("..\\cat\\x.png", "leads out of the archive"),
        ("C:\\cat\\x.png", "leads out of the archive"),
        ("cat/inner.zip", "is an archive in the archive"),
        ("cat/inner.tar.gz", "is an archive in the archive"),
        ("cat/x.gif", "is no PNG, JPEG, WebP or BMP image"),
        ("<script>alert(1)</script>.tiff", "entry <script>alert(1)</script>.tiff: is no PNG"),
        ("cat/\u202egnp.gif", "entry cat/\ufffdgnp.gif: is no PNG"),
    ],
)
def test_an_entry_that_does_not_belong_there_is_named(
    bench: Bench, packer: Callable[[dict[str, bytes]], bytes], name: str, message: str
):
    ending = "zip" if packer is zipped else "tar"
    error = bench.refused(bench.file(f"a.{ending}", packer(two({name: picture(red())}))))
    assert message in str(error)
    assert sorted(path.name for path in bench.files.parent.iterdir()) == ["files", "made"]


def test_links_are_refused(bench: Bench):
    out = io.BytesIO(zipped(two({})))
    with zipfile.ZipFile(out, "a") as packed:
        link = zipfile.ZipInfo("cat/link.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        packed.writestr(link, "/etc/passwd")
    assert "is a link" in str(bench.refused(bench.file("a.zip", out.getvalue())))
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as packed_tar:
            info = tarfile.TarInfo("cat/link.png")
            info.type, info.linkname = kind, "/etc/passwd"
            packed_tar.addfile(info)
        assert "is a link or a device" in str(bench.refused(bench.file("a.tar", out.getvalue())))


def test_a_thousand_huge_files_are_refused_at_the_first(bench: Bench):
    """70 MB of nothing each, in 70 KB."""
    huge = zipped({"cat/0.png": bytes(70 << 20)})
    assert "is larger than 64 MB" in str(bench.refused(bench.file("a.zip", huge)))
    packed = tarred(two({"dog/huge.png": bytes(65 << 20)}), "w:gz")
    assert "is larger than 64 MB" in str(bench.refused(bench.file("a.tar.gz", packed)))


def test_an_entry_that_lies_about_its_size_is_refused(bench: Bench):
    content = bytearray(zipped({"cat/0.png": bytes(70 << 20), "dog/0.png": b""}))
    central = content.rindex(b"PK\x01\x02", 0, content.rindex(b"PK\x01\x02"))
    content[central + 24 : central + 28] = struct.pack("<I", 100)
    error = bench.refused(bench.file("a.zip", bytes(content)))
    assert error.entry == "cat/0.png"


def test_an_encrypted_entry_is_refused(bench: Bench):
    content = bytearray(zipped(two({})))
    for place in (i for i in range(len(content)) if content[i : i + 4] == b"PK\x01\x02"):
        content[place + 8] |= 1
    assert "is encrypted" in str(bench.refused(bench.file("a.zip", bytes(content))))


@pytest.mark.parametrize(
    ("packed", "message"),
    [
        ({"notes.txt": b"hello"}, "holds no PNG"),
        ({"0.png": picture(red())}, "has images that are in no folder"),
        ({"cat/0.png": picture(red())}, "only one class, cat"),
        ({"a/train/cat/0.png": picture(red()), "a/train/cat/1.png": picture(red())}, "only one class, cat"),
        ({"val/a/0.png": picture(red()), "test/a/0.png": picture(red())}, "has no folder for training"),
    ],
)
def test_an_archive_without_classes_says_what_it_lacks(bench: Bench, packed: dict[str, bytes], message: str):
    assert message in str(bench.refused(bench.file("a.zip", zipped(packed))))


def test_a_damaged_archive_says_so(bench: Bench, real: ImageSet):
    for name, packer in PACKERS.items():
        whole = packer(folder_of(real, 0, 40))
        error = bench.refused(bench.file(name, whole[: len(whole) * 2 // 3]))
        assert "damaged" in str(error)
    two_archives = [bench.file(name, zipped(two({}))) for name in ("a.zip", "b.zip")]
    assert "these are several" in str(bench.refused(*two_archives))


def test_names_from_everywhere_stay_what_they_are_without_what_cannot_be_seen(bench: Bench):
    image = picture(red())
    names = ["<script>alert(1)</script>", "\u202eevil", "עברית", "cafe\u0301", "a\tb"]
    packed = {f"{name.replace('/', '')}/{place}.png": image for name in names for place in range(2)}
    made = bench.made(bench.file("a.zip", zipped(packed)))
    assert set(made.about.classes) == {"<script>alert(1)<script>", "evil", "עברית", "café", "a b"}


def test_one_upright_error_names_no_file_on_this_machine(bench: Bench):
    with pytest.raises(IngestError) as caught:
        guess([bench.file("a.zip", zipped(two({"cat/odd.png": b""})))], Choices())
    assert str(bench.files) not in str(caught.value)

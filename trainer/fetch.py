"""Brings Fashion-MNIST into a data folder, in torchvision's layout: `python -m trainer.fetch --data-dir var/data`."""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from trainer.errors import DataError, DataMissing
from trainer.sources import fashion_mnist_folder, load

Say = Callable[[str], None]

FILES = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
"""The unpacked files and their SHA-256; who packs them, and how hard, differs between sources."""

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
DEBIAN_PACKAGE = "dataset-fashion-mnist"


def fetch_fashion_mnist(data_dir: Path, say: Say) -> None:
    """Make sure the data set is there and whole. Raises `DataMissing` with what to do where it cannot be had."""
    folder = fashion_mnist_folder(data_dir)
    if _complete(data_dir):
        say(f"Fashion-MNIST is in {folder}.")
        return
    folder.mkdir(parents=True, exist_ok=True)
    for source in (_from_folder, _from_debian, _from_torchvision):
        if source(folder, say) and _complete(data_dir):
            say(f"Fashion-MNIST is ready in {folder}.")
            return
    raise DataMissing(
        f"Fashion-MNIST could not be fetched. Download {', '.join(f'{name}.gz' for name in FILES)} from "
        f"https://github.com/zalandoresearch/fashion-mnist, put them into {folder} and run `make data` again."
    )


def _complete(data_dir: Path) -> bool:
    try:
        return (
            len(load("fashion-mnist", "train", data_dir)) == 60_000 and len(load("fashion-mnist", "val", data_dir)) > 0
        )
    except DataError:
        return False


def _from_folder(folder: Path, say: Say) -> bool:
    """Files that someone has put there by hand, or that Debian's package has installed."""
    for place in (folder, DEBIAN_FOLDER):
        if all((place / f"{name}.gz").exists() for name in FILES):
            say(f"Unpacking Fashion-MNIST from {place} ...")
            return _unpack(place, folder, say)
    return False


def _from_debian(folder: Path, say: Say) -> bool:
    """Debian's package, downloaded and taken apart without being installed, so that no root is needed."""
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        return False
    say(f"Fetching Debian's package {DEBIAN_PACKAGE} (31 MB) ...")
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        if not _apt_download(place):
            say(f"apt-get could not download {DEBIAN_PACKAGE}.")
            return False
        (package,) = place.glob("*.deb")
        subprocess.run(["dpkg", "-x", str(package), str(place)], check=True)
        return _unpack(place / DEBIAN_FOLDER.relative_to("/"), folder, say)


def _apt_download(place: Path) -> bool:
    download = ["apt-get", "-q", "download", DEBIAN_PACKAGE]
    if _runs(download, place):
        return True
    # A new machine has no package lists yet, and only root may fetch them.
    return os.geteuid() == 0 and _runs(["apt-get", "-q", "update"], place) and _runs(download, place)


def _runs(command: list[str], place: Path) -> bool:
    return subprocess.run(command, cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


def _from_torchvision(folder: Path, say: Say) -> bool:
    # torchvision brings torch with it, some seconds that only this way of fetching needs.
    from torchvision.datasets import FashionMNIST

    say("Downloading Fashion-MNIST with torchvision ...")
    try:
        FashionMNIST(str(folder.parent.parent), download=True)
    except (OSError, RuntimeError) as error:
        say(f"torchvision could not download it: {error}")
        return False
    return True


def _unpack(place: Path, folder: Path, say: Say) -> bool:
    """Check and unpack the four files; each appears whole or not at all."""
    for name, digest in FILES.items():
        packed = place / f"{name}.gz"
        content = gzip.decompress(packed.read_bytes())
        if hashlib.sha256(content).hexdigest() != digest:
            say(f"{packed} does not hold what was published.")
            return False
        part = folder / f"{name}.{os.getpid()}.part"
        part.write_bytes(content)
        part.replace(folder / name)
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description="Fetch Fashion-MNIST.")
    parser.add_argument("--data-dir", type=Path, required=True)
    try:
        fetch_fashion_mnist(parser.parse_args().data_dir, lambda line: print(line, flush=True))
    except DataError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

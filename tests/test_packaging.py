"""What a new machine needs is in the files: pins, the container's steps, the make targets."""

from __future__ import annotations

import re
import tomllib

from app.config import ROOT
from app.routes import health

PINS = {
    re.split(r"==", line)[0].lower().replace("_", "-")
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if not line.startswith("#")
}
DOCKERFILE = (ROOT / "Dockerfile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_every_requirement_is_pinned_to_a_version():
    wanted = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
    assert {re.split(r"[<>=\[ ]", line)[0] for line in wanted} <= PINS


def test_pins_name_versions_and_no_places():
    text = (ROOT / "constraints.txt").read_text()
    assert "://" not in text
    assert "@" not in text


def test_the_container_runs_as_an_ordinary_user():
    assert re.findall(r"^USER (\S+)", DOCKERFILE, re.MULTILINE)[-1] not in ("root", "0")


def test_the_container_asks_a_route_that_the_server_has():
    paths = {route.path for route in health.router.routes}  # type: ignore[attr-defined]
    assert set(re.findall(r"\+ '(/\w+)'", DOCKERFILE)) <= paths
    assert "HEALTHCHECK" in DOCKERFILE


def test_what_the_container_copies_is_there_and_not_ignored():
    allowed = {line.lstrip("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for line in re.findall(r"^COPY (?!--)(.*)", DOCKERFILE, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert source in allowed, source


def test_the_container_keeps_its_data_in_the_volume():
    assert "FITROOM_HOME=/data" in DOCKERFILE
    assert re.search(r"^VOLUME /data$", DOCKERFILE, re.MULTILINE)


def test_every_make_target_is_said_in_the_readme_or_listed():
    listed = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {"run", "test", "lint", "bench", "screenshots", "doctor"} <= set(listed)

"""The short form of `make fuzz`: requests that nobody would write, and no answer is a 5xx."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tools.fuzz import Found, fuzz, report

if TYPE_CHECKING:
    from pathlib import Path


def test_no_request_made_from_the_apis_description_breaks_the_server(tmp_path: Path, data_dir: Path):
    found = fuzz(tmp_path, data_dir, examples=3)
    assert found.broken == []
    assert found.cases > 120
    assert len(found.statuses) > 25


def test_a_5xx_would_be_told_with_its_request():
    found = Found()
    found.note("GET /x", "http://localhost/x {}", 200)
    found.note("GET /x", "http://localhost/x?y=1 {}", 503)
    assert found.broken == ["503 GET /x: http://localhost/x?y=1 {}"]
    assert "2 requests in 1 s, 1 answered by a 5xx" in report(found, 1.0)

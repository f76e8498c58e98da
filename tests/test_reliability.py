"""The page on reliability names the test behind each sentence; here, that they are there."""

from __future__ import annotations

import ast
import re

from app.config import ROOT

PAGE = (ROOT / "docs" / "reliability.md").read_text()


def functions(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_test_that_the_page_names_is_there():
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
    assert len(named) > 30
    assert [(path, name) for path, name in named if name not in functions(path)] == []


def test_every_sentence_of_the_contract_names_a_test():
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| what |")]
    assert rows
    assert [row for row in rows if "::test_" not in row] == []

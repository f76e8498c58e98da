"""Which state of the code a figure belongs to."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def revision() -> str | None:
    """The commit of the checkout, "-dirty" where more than results has changed since; None without git or checkout."""
    try:
        commit = _git("rev-parse", "--short", "HEAD")
    except FileNotFoundError:
        return None
    changed = _git("status", "--porcelain", "--", ".", ":(exclude)benchmarks/results")
    return f"{commit}-dirty" if commit and changed else commit or None


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

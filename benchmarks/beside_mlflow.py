"""Asks `mlflow_side.py`, which runs in MLflow's own Python."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from app.config import ROOT


def ask(python: Path, *arguments: str, given: str = "") -> Any:
    command = [str(python), str(ROOT / "benchmarks" / "mlflow_side.py"), *arguments]
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"MLflow: {done.stderr.strip()[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])

"""Files of a run to take away; some are made when they are first asked for."""

from __future__ import annotations

from pathlib import Path

from app.looking.images import NoSuchImage
from app.state import State


def weights(shared: State, run_id: int) -> Path:
    """Those of the best epoch. Raises `NoSuchImage` where there are none."""
    path = shared.settings.weights(run_id)
    if not path.exists():
        raise NoSuchImage(f"Run {run_id} has no saved weights.")
    return path


def onnx(shared: State, run_id: int) -> Path:
    """The best epoch's network as ONNX, made once for each state of the weights.

    Raises `NoSuchImage` without weights, `FormError` where it cannot be made, `SidecarError` where nobody answers.
    """
    saved = weights(shared, run_id)
    file = saved.with_name(f"best-{saved.stat().st_mtime_ns}.onnx")
    if not file.exists():
        shared.exporter.ask({"onnx": str(saved), "to": str(file), "data_dir": str(shared.settings.data_dir)})
        for old in saved.parent.glob("best-*.onnx"):
            if old != file:
                old.unlink(missing_ok=True)
    return file

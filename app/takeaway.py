"""Files of a run that are made when they are first asked for."""

from __future__ import annotations

from pathlib import Path

from app.forms import FormError
from app.images import NoSuchImage
from app.state import State


def onnx(shared: State, run_id: int) -> Path:
    """The best epoch's network as ONNX, made once for each state of the weights.

    Raises `NoSuchImage` without weights, `FormError` where it cannot be made, `SidecarError` where nobody answers.
    """
    weights = shared.settings.weights(run_id)
    if not weights.exists():
        raise NoSuchImage(f"Run {run_id} has no saved weights.")
    file = weights.with_name(f"best-{weights.stat().st_mtime_ns}.onnx")
    if not file.exists():
        question = {"onnx": str(weights), "to": str(file), "data_dir": str(shared.settings.data_dir)}
        answer = shared.exporter.ask(question)
        if "errors" in answer:
            raise FormError(answer["errors"])
        for old in weights.parent.glob("best-*.onnx"):
            if old != file:
                old.unlink(missing_ok=True)
    return file

"""Thousands of requests that nobody would write, made from the API's own description: `make fuzz`.

Schemathesis makes them: valid ones, whose numbers and texts lie at the edges, and invalid ones. The application answers
in this process, on a store with runs in it; streams, which do not end, are left out. No answer may be a 5xx.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import platform
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import schemathesis
from httpx2 import InvalidURL
from hypothesis import HealthCheck, Phase, given, reject, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from sqlalchemy import select
from starlette.testclient import TestClient

from app.config import ROOT, Settings
from app.db import Database
from app.main import create_app
from app.models import EpochPredictions
from benchmarks.dashboard import fill
from tools.server import link_fashion_mnist
from tools.store import generate

STORED = 24
EPOCHS = 3
"""Of the runs whose predictions are stored too."""
STREAMS = ("/events", "/streams")
Known = dict[str, list[Any]]
schemathesis.serializer.alias(["application/offset+octet-stream"], "application/octet-stream")


@dataclass(slots=True)
class Found:
    """What came of it, by operation."""

    statuses: dict[str, Counter[int]] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    """Each request that was answered by a 5xx, as one line."""

    @property
    def cases(self) -> int:
        return sum(counter.total() for counter in self.statuses.values())

    def note(self, operation: str, request: str, status: int) -> None:
        self.statuses.setdefault(operation, Counter())[status] += 1
        if status >= 500:
            self.broken.append(f"{status} {operation}: {request}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=ROOT / "var" / "data")
    parser.add_argument(
        "--examples", type=int, default=40, help="valid and as many invalid requests for each operation"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write what came of it there, as Markdown")
    arguments = parser.parse_args()
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as home:
        found = fuzz(Path(home), arguments.data_dir, examples=arguments.examples, seed_of_all=arguments.seed)
    text = report(found, time.perf_counter() - begun)
    print(text)
    if arguments.out:
        arguments.out.write_text(text)
    return 1 if found.broken else 0


def fuzz(home: Path, data_dir: Path, *, examples: int, seed_of_all: int = 0) -> Found:
    """Ask every operation so many valid and so many invalid requests."""
    generate(home, STORED)
    fill(home, number=2, epochs=EPOCHS)
    link_fashion_mnist(home / "data", data_dir)
    app = create_app(Settings(home=home, workers=0))
    schema = schemathesis.openapi.from_dict(app.openapi())
    found = Found()
    with TestClient(app, base_url="http://localhost", follow_redirects=False) as client:
        known = _known(client, app.state.fitroom.db)
        operations = [outcome.ok() for outcome in schema.get_all_operations()]
        # What is deleted can be asked for nothing more.
        for operation in sorted(operations, key=lambda operation: operation.method.upper() == "DELETE"):
            if not operation.path.endswith(STREAMS):
                for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                    ask(client, operation, mode, found, known, examples=examples, seed_of_all=seed_of_all)
    return found


def ask(
    client: TestClient,
    operation: Any,
    mode: GenerationMode,
    found: Found,
    known: Known,
    *,
    examples: int,
    seed_of_all: int,
) -> None:
    """One operation's requests of one kind."""
    number = itertools.count()
    name = f"{operation.method.upper()} {operation.path}"

    @seed(seed_of_all)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def each(case: Any) -> None:
        if mode is GenerationMode.POSITIVE:
            _aim(case, next(number), known)
        request = _for_client(case.as_transport_kwargs(base_url="http://localhost"))
        try:
            answer = client.request(**request)
        except InvalidURL:  # longer than what the client sends
            reject()
        found.note(name, f"{request['url']} {str(request)[:1000]}", answer.status_code)

    _run_unless_impossible(each)


def _run_unless_impossible(each: Callable[[], None]) -> None:
    """Where there is nothing to be wrong, there is no invalid request."""
    with contextlib.suppress(Unsatisfiable):
        each()


def _aim(case: Any, number: int, known: Known) -> None:
    """Three of four valid requests are for something that there is: most numbers and names would lead nowhere."""
    if number % 4 == 0:
        return
    for parameters in (case.path_parameters or {}, case.query or {}):
        for name in parameters.keys() & known.keys():
            parameters[name] = known[name][number % len(known[name])]


def _known(client: TestClient, db: Database) -> Known:
    """What is in the store, by the names that the API's parameters have."""
    with db.read() as session:
        predicted = list(session.scalars(select(EpochPredictions.run_id).distinct()))
    announced = {"name": "fuzz", "files": [{"filename": "train.csv", "size": 10}]}
    return {
        "run_id": [*range(1, STORED + 1), *predicted * (STORED // 4)],
        "epoch": list(range(1, EPOCHS + 1)),
        "upload_id": [client.post("/api/v1/uploads", json=announced).json()["id"]],
        "number": [0],
        "dataset": ["fashion-mnist"],
        "format": ["csv", "json", "parquet"],
    }


def _for_client(request: dict[str, Any]) -> dict[str, Any]:
    """As httpx names its arguments: a body that is bytes or text is its content. The API takes no cookies."""
    request.pop("cookies", None)
    data = request.pop("data", None)
    if isinstance(data, bytes | str):
        request["content"] = data
    elif data is not None:
        request["data"] = data
    return {name: value for name, value in request.items() if value is not None}


def report(found: Found, seconds: float) -> str:
    lines = [
        "# What `make fuzz` found",
        "",
        f"{found.cases:,} requests in {seconds:.0f} s, {len(found.broken)} answered by a 5xx. "
        f"Schemathesis {version('schemathesis')}, Python {platform.python_version()}.",
        "",
        "| operation | requests | answers |",
        "|---|---|---|",
    ]
    for name, counter in found.statuses.items():
        answers = ", ".join(f"{status}: {count}" for status, count in sorted(counter.items()))
        lines.append(f"| `{name}` | {counter.total()} | {answers} |")
    if found.broken:
        lines += ["", "## Answered by a 5xx", "", *(f"    {line}" for line in found.broken)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())

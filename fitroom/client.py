"""The client: one method for each thing that is done with runs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from http.client import HTTPException, HTTPResponse
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from fitroom import events as sse
from fitroom.connection import Connection
from fitroom.errors import NotFound, Unreachable
from fitroom.events import Event
from fitroom.runs import Metrics, Run

if TYPE_CHECKING:
    import pandas as pd

LOST_FOR_S = 60.0
"""So long a broken stream is taken up again before `Unreachable` is raised."""
NO_CONTENT = 204
_PAUSES_S = (0.05, 0.2, 0.5, 1.0, 2.0, 5.0)


class Client:
    """A Fitroom server. The token is taken from `FITROOM_TOKEN` unless it is given; without one nothing is sent.

    Methods raise `fitroom.errors.ApiError` where the server refuses, `Unreachable` where nobody answers.
    """

    def __init__(self, url: str = "http://127.0.0.1:8000", *, token: str | None = None, timeout: float = 30.0) -> None:
        found = token if token is not None else os.environ.get("FITROOM_TOKEN")
        # The two words that the server's own setting may have are no secrets.
        self._connection = Connection(url, None if found in (None, "", "none", "auto") else found, timeout)

    def submit(
        self,
        *,
        name: str = "",
        notes: str = "",
        tags: Sequence[str] = (),
        preset: str | None = None,
        **settings: Any,
    ) -> Run:
        """Queue a run. Settings left out are the preset's, or the defaults. Raises `Invalid` with errors by field."""
        about: dict[str, Any] = {"name": name, "notes": notes, "tags": list(tags)}
        about |= {"preset": preset} if preset is not None else {}
        return Run.of(self._connection.json("POST", "/api/v1/runs", about | settings))

    def run(self, run: Run | int) -> Run:
        """How it stands now. Raises `NotFound`."""
        return Run.of(self._connection.json("GET", _path(run)))

    def runs(
        self,
        *,
        filter: str = "",
        sort: str = "",
        q: str = "",
        status: str = "",
        archived: str = "",
        limit: int | None = None,
    ) -> Iterator[Run]:
        """The runs of a query in its order, page by page as they are taken; all of them, or the first `limit`.

        Each comes once, although those that are submitted meanwhile push others on to the next page.
        """
        query = _query(filter=filter, sort=sort, q=q, status=status, archived=archived)
        page, given = 1, set[int]()
        while limit is None or len(given) < limit:
            told = self._connection.json("GET", f"/api/v1/runs?{urlencode({**query, 'page': page})}")
            new = [run for run in told["runs"] if run["id"] not in given]
            for run in new[: None if limit is None else limit - len(given)]:
                given.add(run["id"])
                yield Run.of(run)
            if not told["runs"] or len(given) >= told["total"]:
                return
            page += 1

    def cancel(self, run: Run | int) -> Run:
        """End a queued run, ask a running one to stop. Raises `Refused` when it has ended already."""
        return Run.of(self._connection.json("POST", f"{_path(run)}/cancel"))

    def delete(self, run: Run | int) -> None:
        """The run and all that belongs to it, for good. Raises `Refused` while it is running."""
        self._connection.send("DELETE", _path(run)).close()

    def metrics(self, run: Run | int) -> Metrics:
        return Metrics.of(self._connection.json("GET", f"{_path(run)}/metrics"))

    def events(self, run: Run | int, *, after: int = 0) -> Iterator[Event]:
        """What happens to the run after a cursor: first what has been, then what comes, until the run is over.

        A connection that breaks is taken up where it was, so nothing is missed and nothing comes twice. Raises
        `Unreachable` when it does not come back within a minute, `NotFound`.
        """
        return self._events(run, after, until=None)

    def wait(self, run: Run | int, *, timeout: float | None = None, told: Callable[[Run], None] | None = None) -> Run:
        """Until the run is over; `told` hears of each change on the way. Raises TimeoutError, `NotFound`.

        The time is looked at whenever the server says something, which an idle one does every 15 s.
        """
        until = None if timeout is None else time.monotonic() + timeout
        found = self.run(run)
        if found.over:
            return found
        for event in self._events(run, self.metrics(run).cursor, until=until):
            if event.kind == "deleted":
                raise NotFound(404, "Not Found", f"Run {found.id} was deleted.", {})
            if event.kind == "status":
                found = Run.of(event.data["run"])
                if told is not None:
                    told(found)
                if found.over:
                    return found
        found = self.run(run)
        if not found.over:
            raise TimeoutError(f"Run {found.id} is still {found.status} after {timeout:g} s.")
        return found

    def _events(self, run: Run | int, after: int, *, until: float | None) -> Iterator[Event]:
        """As `events`, but no longer than `until`, an instant of `time.monotonic`."""
        failures, heard_at = 0, time.monotonic()
        while (left := _left(until)) is None or left > 0:
            problem: Exception | None = None
            try:
                answer = self._connection.send(
                    "GET", f"{_path(run)}/events", headers={"Last-Event-ID": str(after)}, timeout=left
                )
                with answer:
                    if answer.status == NO_CONTENT:
                        return
                    for event in sse.parse(_lines(answer, until)):
                        after, failures, heard_at = event.id, 0, time.monotonic()
                        yield event
                        if event.kind == "deleted":
                            return
            except (Unreachable, OSError, HTTPException) as error:
                problem = error
            # Ended in order, too, it is asked once more: by 204 the server says that all has been told.
            if problem is not None and time.monotonic() - heard_at > LOST_FOR_S:
                raise Unreachable(f"The stream of {_path(run)} broke and did not come back: {problem}") from problem
            pause = _PAUSES_S[min(failures, len(_PAUSES_S) - 1)]
            time.sleep(pause if (left := _left(until)) is None else min(pause, max(0.0, left)))
            failures += 1

    def frame(
        self, *, filter: str = "", sort: str = "", q: str = "", status: str = "", archived: str = ""
    ) -> pd.DataFrame:
        """The runs of a query as a DataFrame, a row for each with every setting and result, indexed by number."""
        query = _query(filter=filter, sort=sort, q=q, status=status, archived=archived)
        return self._frame(f"/api/v1/runs.json?{urlencode(query)}", "id", ("created_at", "started_at", "finished_at"))

    def epochs_frame(self, run: Run | int) -> pd.DataFrame:
        """A run's epochs as a DataFrame, indexed by epoch."""
        return self._frame(f"{_path(run)}/epochs.json", "epoch", ("finished_at",))

    def _frame(self, path: str, index: str, moments: Sequence[str]) -> pd.DataFrame:
        import pandas as pd

        frame = pd.DataFrame(self._connection.json("GET", path))
        if frame.empty:
            return frame
        for name in moments:
            frame[name] = pd.to_datetime(frame[name], utc=True, format="ISO8601")
        return frame.set_index(index)


def _path(run: Run | int) -> str:
    return f"/api/v1/runs/{quote(str(run.id if isinstance(run, Run) else int(run)))}"


def _left(until: float | None) -> float | None:
    return None if until is None else until - time.monotonic()


def _lines(answer: HTTPResponse, until: float | None) -> Iterator[bytes]:
    """Those that come before an instant: a run that has much to tell would never let a reader time out."""
    for line in answer:
        yield line
        if (left := _left(until)) is not None and left <= 0:
            return


def _query(**parts: str) -> dict[str, str]:
    return {name: value for name, value in parts.items() if value}

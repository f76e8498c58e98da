"""torchvision's small sets: a child process, which needs torch, fetches them; the server tells how far it is."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from pathlib import Path

from app.data_sets.child import Child, ChildEnded
from trainer.small_sets import SMALL
from trainer.store import Store


@dataclass(frozen=True, slots=True)
class KnownSet:
    """One of them, and how far it is."""

    name: str
    label: str
    about: str
    licence: str
    size: int
    """Bytes to download, about."""
    busy: bool = False
    done: int = 0
    total: int = 0
    error: str = ""
    """Why the last attempt led nowhere."""
    dataset: str = ""
    """Its id, once it is here."""


@dataclass(slots=True)
class _Fetch:
    child: Child
    done: int = 0
    total: int = 0
    error: str = ""
    over: bool = False


class Fetching:
    """At most one download of each set at a time. Thread-safe."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._fetches: dict[str, _Fetch] = {}
        self._lock = threading.Lock()
        self._closed = False

    def start(self, name: str) -> None:
        """Begin to fetch one of `SMALL`, unless that is under way."""
        with self._lock:
            known = self._fetches.get(name)
            if self._closed or (known and not known.over):
                return
            fetch = self._fetches[name] = _Fetch(Child("trainer.small_sets"))
        threading.Thread(target=self._run, args=(name, fetch), name=f"fetch {name}", daemon=True).start()

    def known(self) -> list[KnownSet]:
        """All of them, as they are at this moment."""
        # The newest version comes first and so is written last.
        here = {(item.name, item.card.source): item.id for item in reversed(Store(self._data_dir).sets())}
        with self._lock:
            fetches = dict(self._fetches)
        return [_known(name, fetches.get(name), here.get((name, small.source), "")) for name, small in SMALL.items()]

    def close(self) -> None:
        """End all downloads; what is half here is used the next time."""
        with self._lock:
            self._closed = True
            for fetch in self._fetches.values():
                fetch.child.end()

    def _run(self, name: str, fetch: _Fetch) -> None:
        def progress(done: int, total: int) -> None:
            fetch.done, fetch.total = done, total

        try:
            answer = fetch.child.ask({"fetch": name, "data_dir": str(self._data_dir)}, progress)
            fetch.error = str(answer["error"]["message"]) if "error" in answer else ""
        except ChildEnded as error:
            fetch.error = str(error)
        finally:
            fetch.over = True
            fetch.child.close()


def _known(name: str, fetch: _Fetch | None, dataset: str) -> KnownSet:
    small = SMALL[name]
    about = KnownSet(name, small.label, small.about, small.licence, small.bytes, dataset=dataset)
    if fetch is None:
        return about
    return replace(about, busy=not fetch.over, done=fetch.done, total=fetch.total, error=fetch.error)

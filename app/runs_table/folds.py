"""What the narrow table keeps so that the seeds of one configuration can stand as one row, and the triggers for it.

Runs fold that share their configuration and are not told apart by being archived, once they have two different seeds.
The newest of them `leads`: it stands for all in the folded table. `fold` is the same number in each of them, that of
the oldest, and empty in runs that stand alone. What the row of a leading run shows of a measure is `shown_` and its
name: the mean over its seeds, or the run's own value where it stands alone.

In a mean count the seeds that have finished; while none has, those that train. One that failed or was cancelled never
counts.
"""

from __future__ import annotations

from collections.abc import Iterator

COUNTED = ("finished", "running")
"""Runs of the first status that any of the seeds has are those that count."""
MEASURES = {
    name: name
    for name in (
        "duration_s", "parameters", "train_samples", "attempt", "best_val_accuracy", "val_accuracy", "train_accuracy",
        "val_loss", "train_loss", "best_epoch", "epochs_done", "images_per_s",
    )
} | {
    "overfit": "train_accuracy - val_accuracy",
    "progress": "epochs_done * 1.0 / CASE WHEN epochs > 0 THEN epochs END",
}  # fmt: skip
"""Columns of the table that have a mean, and how SQL finds a run's own value."""
_OWN = MEASURES | {"starred": "starred"}


def kept(name: str) -> str:
    """The column of a leading run that holds what is said of its seeds together."""
    return f"seeds_{name}"


def shown(name: str) -> str:
    """The column by which the folded table is sorted."""
    return f"shown_{name}"


def are_one(name: str) -> bool:
    """Whether seeds say this together; of everything else the newest run speaks."""
    return name in _OWN


def stored() -> list[str]:
    return [kept(name) for name in _OWN]


def computed() -> dict[str, str]:
    """Columns that SQLite works out of a row itself, and how."""
    return {shown(name): f"CASE WHEN fold IS NULL THEN {own} ELSE {kept(name)} END" for name, own in _OWN.items()}


def triggers() -> Iterator[str]:
    """On the narrow table itself, so that it does not matter why a row of it comes, changes or goes."""
    yield _trigger("insert", "INSERT", [*_fold("NEW"), _tell("NEW")])
    yield _trigger("delete", "DELETE", [*_fold("OLD"), _tell("OLD")])
    both = [*_fold("OLD"), _tell("OLD"), *_fold("NEW"), _tell("NEW")]
    yield _trigger("moved", f"UPDATE OF {', '.join(_TOGETHER)}", both, " OR ".join(map(_differs, _TOGETHER)))
    watched = ("status", "starred", "epochs", *(name for name, own in MEASURES.items() if name == own))
    yield _trigger("told", f"UPDATE OF {', '.join(watched)}", [_tell("NEW")], "NEW.fold IS NOT NULL")


def fold_all() -> Iterator[str]:
    """The same for the whole table at once, before it has triggers."""
    found = f"SELECT archived AS a, config_key AS c, {_FOUND} FROM listed GROUP BY archived, config_key"  # noqa: S608
    yield f"UPDATE listed SET {_PLACED} FROM ({found}) AS found WHERE archived = a AND config_key = c"  # noqa: S608
    yield _tell()


_TOGETHER = ("archived", "config_key", "seed")
_FOUND = "min(run_id) AS oldest, max(run_id) AS newest, coalesce(min(seed) < max(seed), 0) AS several"
_FOLD, _LEADS = "CASE WHEN several THEN oldest END", "NOT several OR run_id = newest"
_PLACED = f"fold = {_FOLD}, leads = {_LEADS}"


def _same(row: str, one: str = "") -> str:
    return f"{one}archived = {row}.archived AND {one}config_key = {row}.config_key"


def _fold(row: str) -> Iterator[str]:
    """Whether the seeds of this row fold, and which leads; only rows for which that changes are written."""
    found = f"SELECT {_FOUND} FROM listed WHERE {_same(row)}"  # noqa: S608 - nothing of a person's
    changes = f"(fold IS NOT {_FOLD} OR leads IS NOT ({_LEADS}))"
    yield f"UPDATE listed SET {_PLACED} FROM ({found}) AS found WHERE {_same(row)} AND {changes}"  # noqa: S608


def _tell(row: str = "") -> str:
    """Into the rows that lead, what their seeds say together: into that of this row's configuration, or into all."""
    said = ", ".join([*map(_mean, MEASURES.values()), "max(starred)"])
    seeds = f"SELECT {said} FROM listed AS seed WHERE {_same('listed', 'seed.')}"  # noqa: S608 - nothing of a person's
    where = f"{_same(row)} AND " if row else ""
    return f"UPDATE listed SET ({', '.join(stored())}) = ({seeds}) WHERE {where}leads AND fold IS NOT NULL"  # noqa: S608


def _mean(own: str) -> str:
    return "coalesce(" + ", ".join(f"avg({own}) FILTER (WHERE status = '{status}')" for status in COUNTED) + ")"


def _differs(name: str) -> str:
    return f"OLD.{name} IS NOT NEW.{name}"


def _trigger(name: str, event: str, statements: list[str], when: str = "") -> str:
    condition = f" WHEN {when}" if when else ""
    return f"CREATE TRIGGER listed_fold_{name} AFTER {event} ON listed{condition} BEGIN {'; '.join(statements)}; END"

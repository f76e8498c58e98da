"""Jinja2 with the filters and globals of every page."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import plotly
from fastapi.templating import Jinja2Templates
from markupsafe import Markup
from pydantic_core import to_json

from app.config import ROOT
from app.data_sets.uploads import file_size
from app.models import SOURCES
from app.runs_table.filters import quoted

STATIC = ROOT / "static"
_IMPORT = re.compile(r'^(?:import|export) [^;]*?from "(\./[^"]+|\.\./[^"]+)"', re.MULTILINE)
PLOTLY_JS = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"


@cache
def static_version() -> str:
    """A hash of everything under static/: it is part of the URLs, so that they can be cached for ever."""
    digest = hashlib.sha256()
    for path in sorted(STATIC.rglob("*")):
        if path.is_file():
            digest.update(str(path.relative_to(STATIC)).encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def static(path: str) -> str:
    return f"/static/{static_version()}/{path}"


@cache
def modules(path: str) -> list[str]:
    """A module and all that it imports, as addresses, so that a browser fetches them at once and not one by one."""
    found: dict[Path, None] = {}
    wanted = [STATIC / path]
    while wanted:
        module = wanted.pop(0).resolve()
        if module not in found:
            found[module] = None
            wanted += [module.parent / name for name in _IMPORT.findall(module.read_text())]
    return [static(str(module.relative_to(STATIC.resolve()))) for module in found]


def percent(value: float | None) -> str:
    return "–" if value is None else f"{value * 100:.2f} %"


def loss(value: float | None) -> str:
    """Four decimals; of a run that is coming apart a power, as 8.31234e+15."""
    return "–" if value is None else f"{value:.4f}" if abs(value) < 1e6 else f"{value:g}"


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def general(value: float | None) -> str:
    """The shortest way to write a hyper-parameter: 0.001, 1e-05."""
    return "–" if value is None else f"{value:g}"


def duration(seconds: float | None) -> str:
    """The two largest units: 8.4 s, 1 m 23 s, 2 h 5 m, 3 d 4 h."""
    if seconds is None:
        return "–"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, unit, smaller_size, smaller in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // smaller_size} {smaller}"
    return f"{whole} s"


def when(value: datetime | None) -> Markup:
    """An instant as a <time> element in UTC; the page's script shows it in the reader's own time zone."""
    if value is None:
        return Markup("–")
    shown, exact = value.astimezone(UTC), value.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return Markup('<time datetime="{}" title="{}">{}</time>').format(exact, exact, shown.strftime("%d %b %H:%M"))


def flag(value: Any) -> str:
    return "yes" if value else "no"


SHOWN: dict[str, Callable[[Any], Any]] = {
    "percent": percent,
    "loss": loss,
    "number": number,
    "general": general,
    "duration": duration,
    "when": when,
    "flag": flag,
}
"""The filters by name."""


def code_words(text: str) -> Markup:
    """Text in which `words` between backticks are code."""
    parts = text.split("`")
    shown = (Markup("<code>{}</code>").format(part) if place % 2 else part for place, part in enumerate(parts))
    return Markup("").join(shown)


def json_text(value: Any, **_: Any) -> str:
    """JSON of what the pages hand to their modules: models, dataclasses and instants included; NaN becomes null."""
    return to_json(value, inf_nan_mode="null").decode()


def _templates() -> Jinja2Templates:
    found = Jinja2Templates(directory=ROOT / "templates")
    found.env.filters.update(SHOWN, quoted=quoted, file_size=file_size, code_words=code_words)
    found.env.globals.update(
        static=static,
        modules=modules,
        version=version("fitroom"),
        plotly_url=f"/assets/plotly-{plotly.__version__}.min.js",
        nav="",
        SOURCES=SOURCES,
    )
    found.env.policies["json.dumps_function"] = json_text
    found.env.trim_blocks = found.env.lstrip_blocks = True
    return found


templates = _templates()

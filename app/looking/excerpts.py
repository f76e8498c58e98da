"""Parts of the trainer's own source, to stand in a script that does without it.

What a name needs is found in the syntax tree, so nothing is imported: the trainer's modules would bring torch.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache

from app.config import ROOT

OURS = "trainer"


@dataclass(slots=True)
class Excerpts:
    """`code` holds definitions, each after those it needs; `imports` what they import from elsewhere."""

    imports: set[str] = field(default_factory=set)
    code: list[str] = field(default_factory=list)
    _taken: set[tuple[str, int]] = field(default_factory=set)
    """Module and line."""

    def offers(self, module: str, name: str) -> bool:
        """Whether `module` defines it."""
        return name in _read(module).definitions

    def take(self, module: str, *names: str) -> None:
        """Add these definitions of `module` ("trainer.augment") and all that they need. Raises `KeyError`."""
        for name in names:
            self._take(module, name)

    def _take(self, module: str, name: str) -> None:
        source = _read(module)
        definition = source.definitions[name]
        if (module, definition.lineno) in self._taken:
            return
        self._taken.add((module, definition.lineno))
        inner = _inner_imports(definition)
        for used in _names(definition):
            if used in source.definitions:
                self._take(module, used)
            elif used in (known := source.imports | inner):
                origin, statement = known[used]
                if origin.split(".")[0] == OURS:
                    self._take(origin, used)
                elif used not in inner or origin == "torch":
                    self.imports.add(statement)
        self.code.append(_text(source, name))


@dataclass(frozen=True, slots=True)
class _Source:
    lines: list[str]
    definitions: dict[str, ast.stmt]
    imports: dict[str, tuple[str, str]]
    """Of each imported name the module that it comes from, and a statement that imports it alone."""


@cache
def _read(module: str) -> _Source:
    text = (ROOT / f"{module.replace('.', '/')}.py").read_text()
    tree = ast.parse(text)
    definitions: dict[str, ast.stmt] = {}
    for statement in tree.body:
        for name in _defined(statement):
            definitions[name] = statement
    return _Source(text.splitlines(), definitions, dict(_imported(_with_type_checking(tree.body))))


def _defined(statement: ast.stmt) -> list[str]:
    match statement:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.Assign(targets=targets):
            return [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]
    return []


def _with_type_checking(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements, and those under `if TYPE_CHECKING:`."""
    for statement in body:
        yield statement
        if isinstance(statement, ast.If):
            yield from statement.body


def _imported(body: Iterable[ast.stmt]) -> Iterator[tuple[str, tuple[str, str]]]:
    for statement in body:
        match statement:
            case ast.Import(names=names):
                for item in names:
                    yield item.asname or item.name.split(".")[0], (item.name, ast.unparse(ast.Import([item])))
            case ast.ImportFrom(module=str(module), names=names):
                for item in names:
                    yield item.asname or item.name, (module, ast.unparse(ast.ImportFrom(module, [item], 0)))


def _inner_imports(definition: ast.stmt) -> dict[str, tuple[str, str]]:
    body = definition.body if isinstance(definition, ast.FunctionDef) else []
    return dict(_imported(body))


def _names(definition: ast.stmt) -> list[str]:
    """The names that are read in it, annotations and decorators too, in order; not those of a left-out decorator."""
    left_out = {node for part in _registering(definition) for node in ast.walk(part)}
    found = [
        node.id
        for node in ast.walk(definition)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node not in left_out
    ]
    return list(dict.fromkeys(found))


def _registering(definition: ast.stmt) -> list[ast.expr]:
    """Decorators that enter a network into the registry, which a script has not."""
    if not isinstance(definition, ast.FunctionDef):
        return []
    return [part for part in definition.decorator_list if "architecture" in ast.unparse(part)]


def _text(source: _Source, name: str) -> str:
    """The definition as it is written, without registering decorators and without imports that the script has."""
    definition = source.definitions[name]
    first = min([definition.lineno, *(part.lineno for part in getattr(definition, "decorator_list", []))])
    dropped = {
        number
        for part in _registering(definition)
        for number in range(part.lineno, (part.end_lineno or part.lineno) + 1)
    }
    if isinstance(definition, ast.FunctionDef):
        for statement in definition.body:
            if isinstance(statement, ast.ImportFrom) and (statement.module or "").split(".")[0] in (OURS, "torch"):
                dropped |= set(range(statement.lineno, (statement.end_lineno or statement.lineno) + 1))
    kept: list[str] = []
    for number in range(first, (definition.end_lineno or first) + 1):
        line = source.lines[number - 1]
        doubled = not line.strip() and (not kept or not kept[-1].strip())
        if number not in dropped and not doubled:
            kept.append(line)
    return "\n".join(kept)

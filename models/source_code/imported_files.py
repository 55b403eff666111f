"""The files of a third-party model, found by following import statements.

Because this does not look at what is loaded, it depends neither on the order of imports nor on other models
of the same process.
"""

from __future__ import annotations

import ast
import sys
import sysconfig
import warnings
from collections.abc import Iterable, Iterator
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import resolve_name
from pathlib import Path

INSTALLED = {"site-packages", "dist-packages"}
STANDARD_LIBRARY = Path(sysconfig.get_paths()["stdlib"]).resolve()
OURS = __name__.partition(".")[0]
DYNAMIC = {"import_module", "__import__"}


def imported_files(module: str) -> dict[str, Path]:
    """Return the files of a module and of all that it imports, by module, without installed packages.

    Latentbench itself and the standard library are left out. If a file imports a module whose name is
    computed, all such files that are loaded are returned.
    """
    files, computed = _closure({module})
    if computed:
        loaded = {name for name in list(sys.modules) if _local_file(name)}
        files, _ = _closure({module, *loaded})
    return files


def _closure(modules: set[str]) -> tuple[dict[str, Path], bool]:
    """Follow imports: the files by module, and whether a file imports a name that is computed."""
    files: dict[str, Path] = {}
    any_computed = False
    todo = list(modules)
    while todo:
        name = todo.pop()
        path = None if name in files else _local_file(name)
        if path is not None:
            files[name] = path
            package = name if path.name == "__init__.py" else name.rpartition(".")[0]
            imported, computed = imports(path.read_bytes() if path.suffix == ".py" else b"", package)
            any_computed |= computed
            todo += _with_parents(imported)
    return files, any_computed


def _local_file(name: str) -> Path | None:
    """Return the file of a module; None if it is installed, built in, ours, or not a module."""
    if name.partition(".")[0] == OURS:
        return None
    loaded = sys.modules.get(name)
    file = getattr(loaded, "__file__", None) if loaded is not None else getattr(_spec(name), "origin", None)
    if not isinstance(file, str):
        return None
    path = Path(file).resolve()
    if INSTALLED & set(path.parts) or path.is_relative_to(STANDARD_LIBRARY) or not path.is_file():
        return None
    return path


def _spec(name: str) -> ModuleSpec | None:
    """Find a module that is not loaded, without running any code, which importlib's `find_spec` may do."""
    path: list[str] | None = None
    found: ModuleSpec | None = None
    parts = name.split(".")
    for depth in range(len(parts)):
        found = PathFinder.find_spec(".".join(parts[: depth + 1]), path)
        if found is None or (found.submodule_search_locations is None and depth + 1 < len(parts)):
            return None
        path = list(found.submodule_search_locations or [])
    return found


def imports(source: bytes, package: str = "") -> tuple[set[str], bool]:
    """Return the names that a source file of a package may import, and whether it imports a computed name.

    Of a file that is not Python, no names.

    >>> sorted(imports(b"import numpy.linalg; from . import helper", "mine")[0])
    ['mine', 'mine.helper', 'numpy.linalg']
    """
    tree = parse(source)
    if tree is None:
        return set(), False
    names: set[str] = set()
    computed = False
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= set(_imported_from(node, package))
        elif isinstance(node, ast.Call) and _called(node) in DYNAMIC:
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                names.add(first.value)
            else:
                computed = True
    return names, computed


def parse(source: bytes) -> ast.Module | None:
    """Parse a source file; None if it is not Python."""
    try:
        with warnings.catch_warnings(action="ignore"):
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return None


def _imported_from(node: ast.ImportFrom, package: str) -> Iterator[str]:
    """Yield the module of `from module import names`, and each name, which may be a submodule."""
    try:
        base = resolve_name("." * node.level + (node.module or ""), package) if node.level else node.module
    except ImportError:
        return
    if base:
        yield base
        yield from (f"{base}.{alias.name}" for alias in node.names if alias.name != "*")


def _called(node: ast.Call) -> str:
    function = node.func
    return getattr(function, "id", "") or getattr(function, "attr", "")


def _with_parents(names: Iterable[str]) -> set[str]:
    """Add the packages that modules are in, whose `__init__` runs with them."""
    return {".".join(name.split(".")[:end]) for name in names for end in range(1, name.count(".") + 2)}

"""Hashes of the code that makes a model: results and trained weights are reused only while it is unchanged.

latentbench's own training code is hashed as a whole, and so is the package of a family that another
distribution installs. Of a user's module, every file counts that it imports from outside installed packages.
The versions of the distributions that such code imports count too; comments, docstrings and layout do not.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from latentbench.models.family import find_family
from latentbench.models.source_code.imported_files import imported_files, imports, parse

OURS = "latentbench"
ENTRY_POINTS = "latentbench.models"
"""The entry point group in which an installed package names functions and classes that make models."""
TRAINING = ("latentbench.data", "latentbench.models")
"""Our packages that decide what the weights of a trained model are."""
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@cache
def training_code() -> str:
    """Return a hash of latentbench's own code for data and models."""
    return _digest({name: path.read_bytes() for each in TRAINING for name, path in _files_of(each).items()})


@cache
def family_code(family: str) -> str | None:
    """Return a hash of the package that registered a family, None for one of latentbench's own.

    Raises LatentbenchError for an unknown family.
    """
    package = find_family(family).__module__.partition(".")[0]
    return None if package == OURS else package_code(package)


def user_code(target: str) -> str:
    """Return a hash of the code behind `module:attribute`, or behind an installed model's name."""
    module = target.partition(":")[0] if ":" in target else _entry_module(target)
    files = imported_files(module)
    outside = "" if files else package_code(module.partition(".")[0])
    return _digest({name: path.read_bytes() for name, path in files.items()} | {"": outside.encode()})


@cache
def package_code(package: str) -> str:
    """Return a hash of the Python files of a package, and of the versions of what they import."""
    return _digest({name: path.read_bytes() for name, path in _files_of(package).items()})


def _digest(sources: Mapping[str, bytes]) -> str:
    """Return a hash of named source files and of the versions of the distributions that they import."""
    hashes = {name: hashlib.sha256(_statements(source)).hexdigest() for name, source in sources.items()}
    imported = {name.partition(".")[0] for source in sources.values() for name in imports(source)[0]}
    versions = _versions(imported)
    return hashlib.sha256(json.dumps([hashes, versions], sort_keys=True).encode()).hexdigest()


def _statements(source: bytes) -> bytes:
    """Return a source file without comments, docstrings and layout; unchanged if it cannot be parsed."""
    tree = parse(source)
    if tree is None:
        return source
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    try:
        return ast.unparse(tree).encode("utf-8", "surrogatepass")
    except RecursionError:
        return source


def _files_of(package: str) -> dict[str, Path]:
    """Return the Python files of a module or package by name; none where it has none."""
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return {}
    if spec.submodule_search_locations is None:
        return {package: Path(spec.origin)} if spec.origin and spec.origin.endswith(".py") else {}
    folders = [Path(each) for each in spec.submodule_search_locations]
    return {
        f"{package}/{path.relative_to(folder).as_posix()}": path
        for folder in folders
        for path in folder.rglob("*.py")
    }


def _versions(names: set[str]) -> dict[str, str]:
    """Return the versions of the distributions that provide these top-level names."""
    providers = _distributions()
    found = {distribution for name in names for distribution in providers.get(name, ())}
    return {distribution: metadata.version(distribution) for distribution in found}


@cache
def _distributions() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()


def _entry_module(name: str) -> str:
    points = metadata.entry_points(group=ENTRY_POINTS)
    return next((point.module for point in points if point.name == name), "")

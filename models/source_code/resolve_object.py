"""Import the user's objects by name: `package.module:attribute`, or an installed entry point.

Any exception in the user's code becomes one LatentbenchError with the exception and its line.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
import sysconfig
import traceback
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from latentbench.data.errors import LatentbenchError
from latentbench.data.registry import unknown
from latentbench.models.source_code.hashes import ENTRY_POINTS

LIBRARIES = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib"))
OURS = str(Path(__file__).parents[1])


def make_importable(folder: Path) -> None:
    """Put `folder` and the current one first on the import path, as Python does with a script's folder.

    Worker processes inherit the path of the process that starts them.
    """
    for path in (str(Path.cwd()), str(folder.resolve())):
        if path in sys.path:
            sys.path.remove(path)
        sys.path.insert(0, path)
    importlib.invalidate_caches()


def find(target: str) -> Any:
    """Return the object that `module:attribute` or the bare name of an entry point names.

    Raises LatentbenchError with the name that does not exist and those that do.
    """
    if ":" not in target:
        return _entry_point(target)
    module_name, _, path = target.partition(":")
    found: Any = _module(module_name, target)
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise LatentbenchError(
                f"{target}: {unknown('attribute', name, _public(found))} in {_described(found)}"
            ) from None
    return found


def call(function: Any, kwargs: Mapping[str, Any], target: str) -> Any:
    """Return `function(**kwargs)`. Raises LatentbenchError, also for keywords that it does not take."""
    if not callable(function):
        raise LatentbenchError(
            f"{target}: is of type {type(function).__name__}, expected a function or a class"
        )
    with running_user_code(target):
        signature = _signature(function)
    if signature is not None:
        try:
            signature.bind(**kwargs)
        except TypeError as error:
            given = ", ".join(kwargs) or "nothing"
            raise LatentbenchError(f"{target}: {error}; it takes {signature}, kwargs gives {given}") from None
    with running_user_code(target):
        return function(**kwargs)


@contextmanager
def running_user_code(where: str) -> Iterator[None]:
    """Turn an exception of the user's code into one line: `where`, the exception, its line.

    Running out of memory passes through, because it is a separate outcome. A change of the current
    folder is undone, because worker processes would start in the new one.
    """
    try:
        with chdir(Path.cwd()):
            yield
    except (LatentbenchError, KeyboardInterrupt, GeneratorExit, MemoryError, torch.OutOfMemoryError):
        raise
    except BaseException as error:
        # Exceptions may derive from BaseException directly; they must not end the run either.
        said = " ".join(str(error).split())
        what = f"{type(error).__name__}: {said}" if said else type(error).__name__
        raise LatentbenchError(f"{where}: {what}{_place(error)}") from None


def _entry_point(name: str) -> Any:
    installed = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if name not in installed:
        raise LatentbenchError(
            f"{unknown('installed model', name, sorted(installed))} (name your own as module:attribute)"
        )
    with running_user_code(f"{name} ({installed[name].value})"):
        return installed[name].load()


def _module(name: str, target: str) -> ModuleType:
    with running_user_code(target):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            # The named module or its package does not exist; a module that it imports is the user's error.
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise
            missing = error.name
    parent, _, last = missing.rpartition(".")
    if last == "py":
        raise LatentbenchError(f"{target}: a module is named without its .py: {target.replace('.py:', ':')}")
    folders = getattr(sys.modules[parent], "__path__", []) if parent else [sys.path[0], str(Path.cwd())]
    beside = sorted({module.name for module in pkgutil.iter_modules(folders)})
    within = parent or " or ".join(dict.fromkeys(folders))
    raise LatentbenchError(f"{target}: {unknown('module', last, beside)} in {within}")


def _public(found: Any) -> list[str]:
    """Return possible intended names: functions and classes that the object defines, or else has."""
    names = [name for name, value in vars(found).items() if callable(value) and not name.startswith("_")]
    own = [
        n for n in names if getattr(vars(found)[n], "__module__", None) == getattr(found, "__name__", None)
    ]
    return own or names


def _described(found: Any) -> str:
    return str(getattr(found, "__file__", None) or getattr(found, "__qualname__", type(found).__name__))


def _signature(function: Any) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


def _place(error: BaseException) -> str:
    """Return ` (file, line n)` of the innermost line of the user's code, or else of a library's."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((OURS, "<"))
    ]
    own = [frame for frame in frames if not frame.filename.startswith(LIBRARIES)]
    if isinstance(error, SyntaxError) or not frames:
        # A syntax error states its place itself.
        return ""
    frame = (own or frames)[-1]
    return f" ({Path(frame.filename).name}, line {frame.lineno})"

"""Turns the findings of pydantic into one clause that tells the user what to change."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from latentbench.data.errors import LatentbenchError
from latentbench.data.registry import unknown

Model = TypeVar("Model", bound=BaseModel)


def validated(model: type[Model], content: Any, where: str) -> Model:
    """Validate `content` as `model`. The LatentbenchError states place, key, allowed and given values."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise LatentbenchError(f"{where}: {explain(error, model)}") from None


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Return the first problem in one clause: the key, what is allowed, what was given."""
    # An unknown key explains a missing one: it is misspelt.
    first = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return str(unknown("key", key, [field.alias or name for name, field in model.model_fields.items()]))
    if first["type"] == "missing":
        return f"the key {key!r} is missing"
    message = first["msg"].replace("Input should be", "must be").replace("Value error, ", "")
    return f"{key} {message}, got {first['input']!r}".strip()

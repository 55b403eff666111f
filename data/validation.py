"""What pydantic finds wrong, in one clause a person can act on."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from latentbench.data.errors import LatentbenchError
from latentbench.data.registry import unknown

Model = TypeVar("Model", bound=BaseModel)


def validated(model: type[Model], content: Any, where: str) -> Model:
    """`content` as `model`; raises LatentbenchError: the place, the key, what is allowed, what was given."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise LatentbenchError(f"{where}: {explain(error, model)}") from None


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """The first problem in one clause: the key, what is allowed, what was given."""
    # A key that is not known explains the one that is missing: it is misspelt.
    first = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return str(unknown("key", key, [field.alias or name for name, field in model.model_fields.items()]))
    if first["type"] == "missing":
        return f"the key {key!r} is missing"
    message = first["msg"].replace("Input should be", "must be").replace("Value error, ", "")
    return f"{key} {message}, got {first['input']!r}".strip()

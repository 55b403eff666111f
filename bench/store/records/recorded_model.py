"""The model of a record, which describes itself.

Reading a record needs no family of the zoo, and so no torch. The zoo is needed only for an older record that
does not name its model.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, PrivateAttr
from typing_extensions import override

from latentbench.models.spec import ModelSpec


class RecordedModel(ModelSpec):
    """The model of a record: its settings as they were, and the names that it had."""

    model_config = ConfigDict(extra="allow")

    latent_dim: Annotated[int, Field(ge=0, strict=True)]
    """As in `ModelSpec`; 0 for a codec, which has no code vector."""

    _label: str = PrivateAttr("")
    _series: str = PrivateAttr("")

    @classmethod
    def of(cls, spec: ModelSpec) -> RecordedModel:
        """Return a spec of any family as it is recorded."""
        return cls.model_validate(spec.model_dump(mode="json")).named(spec.label, spec.series)

    def named(self, label: str, series: str) -> Self:
        """Set the names, and return the model."""
        self._label, self._series = label, series
        return self

    @property
    @override
    def label(self) -> str:
        return self._label or self._typed.label

    @property
    @override
    def series(self) -> str:
        return self._series or self._typed.series

    @property
    def _typed(self) -> ModelSpec:
        """Return the spec as its family's class; a record of schema 1 or 2 has no names."""
        from pydantic import TypeAdapter

        from latentbench.models.zoo import AnySpec

        spec: ModelSpec = TypeAdapter(AnySpec).validate_python(self.model_dump(mode="json"))
        self.named(spec.label, spec.series)
        return spec

    def is_of(self, spec: ModelSpec) -> bool:
        """Return True if these are the settings of a spec, the hash of a user's code included."""
        return _settings(self) == _settings(spec)


def _settings(spec: ModelSpec) -> dict[str, Any]:
    """Return the settings that are set, as in JSON."""
    content: dict[str, Any] = json.loads(spec.model_dump_json())
    return {name: value for name, value in content.items() if value is not None}

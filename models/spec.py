"""ModelSpec: everything that says which compressor is meant, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

SYMBOLS = {"alpha": "α", "beta": "β", "gamma": "γ", "sigma": "σ"}


class ModelSpec(BaseModel):
    """One member of the zoo. Frozen, hashable, JSON both ways; unknown keys are refused.

    Each family has its own subclass, with its settings as fields and their defaults filled in, so that
    two spellings of one model never differ; `models.family.model_spec` makes the right one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    always_labelled: ClassVar[tuple[str, ...]] = ("beta",)

    family: str
    latent_dim: Annotated[int, Field(ge=1, strict=True)]

    def __hash__(self) -> int:
        # Of the JSON, since a setting may be a list or a mapping.
        return hash(self.model_dump_json())

    def setting(self, name: str) -> Any:
        """A setting by name; None where the family has none of that name."""
        return getattr(self, name, None)

    @property
    def label(self) -> str:
        """The short name used in tables and pictures, such as `vae-16 β=4`: what sets a model apart."""
        return " ".join([f"{self.family}-{self.latent_dim}", *self._labelled_settings()])

    @property
    def series(self) -> str:
        """The label without the width: what models have in common that differ in width alone."""
        return " ".join([self.family, *self._labelled_settings()])

    def usual(self) -> Mapping[str, object]:
        """The settings' values that go without saying."""
        return {name: field.default for name, field in type(self).model_fields.items()}

    def _labelled_settings(self) -> list[str]:
        usual = self.usual()
        return [
            _shown(name, value)
            for name, value in self
            if name not in ("family", "latent_dim")
            and value is not None
            and (name in self.always_labelled or value != usual.get(name))
        ]


class ForeignSpec(ModelSpec):
    """A model that this installation does not know, as a record tells of it: to be shown, not built."""

    model_config = ConfigDict(extra="allow")


def _shown(name: str, value: object) -> str:
    if isinstance(value, str):
        return value
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return f"{SYMBOLS.get(name, name.replace('_', ' '))}={text}"

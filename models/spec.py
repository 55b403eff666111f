"""ModelSpec: the settings that define one compressor, and nothing else; and how its family is shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from latentbench.models.codes import shape_text

if TYPE_CHECKING:
    import numpy as np

SYMBOLS = {"alpha": "α", "beta": "β", "gamma": "γ", "sigma": "σ"}


REFERENCE = "architecture"
"""The family that records name for a reference model."""


class ModelSpec(BaseModel):
    """One member of the zoo. Frozen, hashable, JSON both ways; unknown keys are refused.

    Each family has a subclass with its settings as fields. Defaults are filled in, so that two spellings
    of one model are equal. `models.family.model_spec` creates the spec of the right class.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, serialize_by_alias=True)

    always_labelled: ClassVar[tuple[str, ...]] = ("beta",)
    """Settings that the label shows even at their default."""

    family: str
    latent_dim: Annotated[int, Field(ge=1, strict=True)]
    """Numbers in a code that is a vector; channels of a grid, or of each token."""
    code_shape: tuple[int, ...] | None = None
    """Shape of a code that is a grid `(C, h, w)` or tokens `(T, C)`, which `resolve` fills in; None for a
    vector."""

    def __hash__(self) -> int:
        # The JSON is hashed because a setting may be a list or a mapping.
        return hash(self.model_dump_json())

    @property
    def settings(self) -> Mapping[str, object]:
        """All settings but family and width, by name, for display; None for those not in use."""
        return {name: value for name, value in self if name not in ("family", "latent_dim", "code_shape")}

    def number(self, name: str) -> float | None:
        """Return a setting as a number, for axes and sorting; None if the model has no such number.

        >>> spec = ModelSpec(family="pca", latent_dim=4)
        >>> spec.number("latent_dim"), spec.number("beta")
        (4.0, None)
        """
        return _as_number(dict(self).get(name))

    @property
    def size(self) -> str:
        """The size of the code as it is shown, such as `16`, or `4×8×8` for a grid."""
        return shape_text(self.code_shape or (self.latent_dim,))

    @property
    def label(self) -> str:
        """The short name in tables and figures, such as `vae-16 β=4`, with settings that are not defaults."""
        return " ".join([f"{self.family}-{self.size}", *self._shown_settings()])

    @property
    def series(self) -> str:
        """The label without the width, equal for models that differ in width alone."""
        return " ".join([self.family, *self._shown_settings()])

    def usual(self) -> Mapping[str, object]:
        """Default values, which labels omit."""
        return {name: field.default for name, field in type(self).model_fields.items()}

    def labelled_settings(self) -> dict[str, object]:
        """The settings that the label shows, by name."""
        usual = self.usual()
        return {
            name: value
            for name, value in self.settings.items()
            if value is not None and (name in self.always_labelled or value != usual.get(name))
        }

    def loss_from_zero(
        self,
        loss: np.ndarray,
        image_shape: tuple[int, int, int],  # noqa: ARG002 (for overrides)
    ) -> np.ndarray:
        """Return the loss of each step, `[steps]`, counted from that of a perfect model."""
        return loss

    def _shown_settings(self) -> list[str]:
        return [_shown(name, value) for name, value in self.labelled_settings().items()]

    @property
    def rank(self) -> tuple[tuple[str, ...], int, tuple[float, ...]]:
        """A key that sorts members of one family: by settings that are words, width, and numbers."""
        values = self.settings.values()
        words = tuple(value if isinstance(value, str) else "" for value in values)
        return words, self.latent_dim, tuple(_as_number(value) or 0.0 for value in values)


def _as_number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


class ForeignSpec(ModelSpec):
    """A recorded model whose family or settings this installation does not know: shown, never built."""

    model_config = ConfigDict(extra="allow")

    latent_dim: Annotated[int, Field(ge=0, strict=True)]
    """As in `ModelSpec`; 0 for what has no code vector."""


class ReferenceSpec(ModelSpec):
    """A production architecture with random weights: sweeps time it, and no suite trains it.

    `analysis.workloads.reference_models` builds it from its name.
    """

    family: str = REFERENCE
    name: str

    @property
    def label(self) -> str:
        """The architecture's name, such as `ViT-B-32 image`."""
        return self.name

    @property
    def series(self) -> str:
        """The label: an architecture has one width."""
        return self.name


def _shown(name: str, value: object) -> str:
    if isinstance(value, str):
        return value
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return f"{SYMBOLS.get(name, name.replace('_', ' '))}={text}"


@dataclass(frozen=True)
class Display:
    """The appearance of a family in tables and figures."""

    order: int = 1000
    """The position of a family in lists; families without a number come last."""
    colour: str = "#cc79a7"
    marker: str = "P"
    """A marker of matplotlib."""

"""The policy of a gate, a small YAML file: its metrics, its thresholds, and the failing verdicts."""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from latentbench.analysis.definitions import definitions, known
from latentbench.data.errors import LatentbenchError
from latentbench.data.registry import unknown
from latentbench.data.storage.files import read_text
from latentbench.data.text.validation import validated
from latentbench.data.text.yaml_text import parse_yaml

Verdict = Literal["regressed", "changed", "missing", "inconclusive", "new", "incomparable", "ok"]
"""The verdicts on a metric, most serious first."""

Size = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class EffectSize(BaseModel):
    """A size of effect: a share of the baseline's value, or an amount in the metric's unit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    relative: Size | None = None
    absolute: Size | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.relative is None) == (self.absolute is None):
            raise ValueError("must have either relative or absolute")
        return self

    def of(self, baseline: float) -> float:
        """Return the amount, in the metric's unit."""
        return self.absolute if self.absolute is not None else (self.relative or 0.0) * abs(baseline)


class SmallestEffects(BaseModel):
    """The smallest effect of interest, by metric, else by unit, else one for all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    default: EffectSize
    units: dict[str, EffectSize] = {}
    metrics: dict[str, EffectSize] = {}

    def of(self, metric: str, unit: str, baseline: float) -> float:
        """Return the smallest effect of interest on a metric whose baseline has this value, in its unit."""
        return (self.metrics.get(metric) or self.units.get(unit) or self.default).of(baseline)


class Policy(BaseModel):
    """The rules of a comparison."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    alpha: Annotated[float, Field(gt=0, lt=0.5)]
    gate: Literal["headline", "all"] | Annotated[tuple[str, ...], Field(min_length=1)]
    fail_on: tuple[Verdict, ...]
    smallest_effect: SmallestEffects

    @property
    def gated(self) -> frozenset[str] | None:
        """The metrics that the gate tests; None for all of them."""
        if self.gate == "all":
            return None
        if self.gate == "headline":
            return frozenset(
                name
                for name, metric in definitions().metrics.items()
                if metric.headline and metric.better != "neither" and name not in timings()
            )
        return frozenset(self.gate)


@cache
def timings() -> frozenset[str]:
    """Return the metrics that depend on other work on the machine: one process says little about the next."""
    return frozenset(
        name for name, metric in definitions().metrics.items() if metric.timed and metric.better != "neither"
    )


def shipped() -> Policy:
    """Return the policy that latentbench ships."""
    return validated(Policy, _shipped_content(), "policy.yaml")


def load(path: Path | None) -> Policy:
    """Load the shipped policy, with its values replaced by those of a file.

    Raises LatentbenchError naming the file, the key and the allowed values.
    """
    if path is None:
        return shipped()
    content = parse_yaml(read_text(path), path.name)
    if not isinstance(content, dict):
        raise LatentbenchError(f"{path.name}: a policy is a mapping, got {type(content).__name__}")
    effects = content.get("smallest_effect", {})
    _check_effects(effects, path.name)
    merged = _shipped_content()
    theirs = merged["smallest_effect"]
    merged |= content | {
        "smallest_effect": {
            "default": effects.get("default", theirs["default"]),
            "units": theirs["units"] | effects.get("units", {}),
            "metrics": theirs["metrics"] | effects.get("metrics", {}),
        }
    }
    policy = validated(Policy, merged, path.name)
    _check_metrics(policy, path.name)
    return policy


def _shipped_content() -> dict[str, Any]:
    text = (resources.files("latentbench.bench.compare") / "policy.yaml").read_text(encoding="utf-8")
    content: dict[str, Any] = parse_yaml(text, "policy.yaml")
    return content


def _check_effects(effects: Any, where: str) -> None:
    """Check each effect separately, so that an error names its place."""
    where = f"{where}, smallest_effect"
    if not isinstance(effects, dict):
        raise LatentbenchError(f"{where} must be a mapping, got {effects!r}")
    for key, given in effects.items():
        if key == "default":
            validated(EffectSize, given, f"{where}.default")
        elif key in ("units", "metrics") and isinstance(given, dict):
            for name, effect in given.items():
                validated(EffectSize, effect, f"{where}.{key}.{name}")
        else:
            raise LatentbenchError(f"{where}: {unknown('key', key, list(SmallestEffects.model_fields))}")


def _check_metrics(policy: Policy, where: str) -> None:
    named = {"smallest_effect.metrics": list(policy.smallest_effect.metrics)}
    if not isinstance(policy.gate, str):
        named["gate"] = list(policy.gate)
    metrics = definitions().metrics
    for key, names in named.items():
        for name in names:
            if known(name) is None:
                raise LatentbenchError(f"{where}, {key}: {unknown('metric', name, list(metrics))}")
    for unit in policy.smallest_effect.units:
        units = sorted({metric.unit for metric in metrics.values() if metric.unit})
        if unit not in units:
            raise LatentbenchError(f"{where}, smallest_effect.units: {unknown('unit', unit, units)}")

"""The features that a suite requests, such as `inception` or `timm:NAME?weights=FILE`; needs no torch.

A kind is either a `space` in which sets of images are compared, or a `distance` between two images. An
evaluation protocol has a name of the same form, `protocol:NAME`: metrics are measured once for each, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from latentbench.data.errors import LatentbenchError
from latentbench.data.registry import unknown

Measures = Literal["space", "distance", "protocol", "pairs"]
"""`pairs` are files of captions and negatives, which the data bring instead of a suite."""


@dataclass(frozen=True)
class ExtractorKind:
    """A kind of features: the module that loads it, and how a request of it is written."""

    measures: Measures
    module: str
    form: str
    named: bool = True
    """True if a request names one of several networks after a colon."""


KINDS = {
    "inception": ExtractorKind("space", "inception", "inception", named=False),
    "timm": ExtractorKind("space", "pretrained", "timm:NAME"),
    "open_clip": ExtractorKind("space", "pretrained", "open_clip:NAME/TAG"),
    "lpips": ExtractorKind("distance", "perceptual", "lpips:NET"),
}
WEIGHTS = "weights"


@dataclass(frozen=True)
class FeatureRequest:
    """A network by its kind and name; `weights` is a local file, else they are the published ones."""

    kind: str
    network: str = ""
    weights: str | None = None

    @property
    def name(self) -> str:
        """The name without the file, such as `inception` or `lpips:alex`."""
        return f"{self.kind}:{self.network}" if self.network else self.kind

    def __str__(self) -> str:
        """Return the request as it is written in a suite."""
        return self.name + (f"?{WEIGHTS}={self.weights}" if self.weights else "")


def parse(text: str) -> FeatureRequest:
    """Parse a request. Raises LatentbenchError naming what is allowed.

    >>> parse("timm:vit_small_patch14_dinov2?weights=dino.safetensors")
    FeatureRequest(kind='timm', network='vit_small_patch14_dinov2', weights='dino.safetensors')
    >>> parse("inception").name
    'inception'
    """
    name, mark, option = text.partition("?")
    kind, colon, network = name.partition(":")
    if kind not in KINDS:
        raise LatentbenchError(
            str(unknown("feature extractor", text, [each.form for each in KINDS.values()]))
        )
    if KINDS[kind].named != bool(network) or bool(colon) != bool(network):
        raise LatentbenchError(f"feature extractor {text!r}: write {KINDS[kind].form}")
    key, _, file = option.partition("=")
    if mark and (key != WEIGHTS or not file):
        raise LatentbenchError(f"feature extractor {text!r}: {option!r} must be {WEIGHTS}=FILE")
    return FeatureRequest(kind, network, file or None)


def parse_all(texts: Sequence[str]) -> tuple[FeatureRequest, ...]:
    """Parse several requests, of which no two may have one name: their metrics would have one name too."""
    requests = tuple(map(parse, texts))
    names = [request.name for request in requests]
    for name in names:
        if names.count(name) > 1:
            raise LatentbenchError(f"feature extractor {name!r} is given twice")
    return requests


PROTOCOL = "protocol:"


def under_protocol(protocol: str) -> str:
    """Return the name that stands for an evaluation protocol among those of features.

    >>> under_protocol("va-vae")
    'protocol:va-vae'
    """
    return f"{PROTOCOL}{protocol}"


def measures(name: str) -> Measures:
    """Return what features of this name measure.

    >>> measures("inception"), measures("lpips:vgg"), measures("protocol:va-vae")
    ('space', 'distance', 'protocol')
    """
    return "protocol" if name.startswith(PROTOCOL) else KINDS[name.partition(":")[0]].measures


def variant(name: str) -> str:
    """Return how metrics call features of this name: a distance by its network, a protocol by its name.

    >>> variant("timm:resnet50"), variant("lpips:alex"), variant("protocol:va-vae")
    ('timm:resnet50', 'alex', 'va-vae')
    """
    return name if measures(name) == "space" else name.partition(":")[2]

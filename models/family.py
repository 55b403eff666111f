"""What a family of compressors is, and where families are registered."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import torch
from pydantic import BeforeValidator, SerializeAsAny, ValidationError
from torch import Tensor, nn

from latentbench.data.errors import LatentbenchError
from latentbench.data.images import ImageData
from latentbench.data.registry import Registry, unknown
from latentbench.data.validation import validated
from latentbench.models.networks.backbones import ImageShape
from latentbench.models.spec import ForeignSpec, ModelSpec
from latentbench.models.training import engine
from latentbench.models.training.engine import Progress, Single, Trainable, Trainee
from latentbench.models.training.history import Diverged, History
from latentbench.models.training.recipe import Recipe
from latentbench.models.training.stacking import Stack

ENTRY_POINTS = "latentbench.families"
"""Where an installed package names modules that register families of its own."""


VALUES_PER_PIXEL = 16
"""Of a batch in training: the image, its reconstruction and what is between them, with gradients."""


class Family(nn.Module):
    """Base of every family. A subclass is one file, registered with `@FAMILIES.register(name)`."""

    Spec: ClassVar[type[ModelSpec]] = ModelSpec
    """The settings that the family takes, with their defaults."""
    paper: ClassVar[str] = ""

    @classmethod
    @abstractmethod
    def build(cls, spec: Any, image_shape: ImageShape) -> Self:
        """An untrained model of a spec of the family's own class."""

    @classmethod
    def resolve(cls, spec: Any, data: ImageData, *, folder: Path, allow_pickle: bool) -> ModelSpec:
        """The spec with all filled in that only the data and the files beside a suite, in `folder`, tell.

        Called once for each model of a suite, before anything is trained. Raises LatentbenchError.
        """
        del folder, allow_pickle
        if data.train is data.test:
            raise LatentbenchError(
                f"{data.name}: has test images only, and {spec.label} has to be trained; use data with a "
                f"train split"
            )
        resolved: ModelSpec = spec
        return resolved

    @classmethod
    def values_to_train(cls, spec: Any, image_shape: ImageShape) -> int:
        """How many numbers training has to hold, counted without allocating them."""
        with torch.device("meta"):
            model = cls.build(spec, image_shape)
        return sum(tensor.numel() for tensor in model.state_dict().values())

    @abstractmethod
    def fit(
        self, data: ImageData, recipe: Recipe, *, seed: int, device: torch.device, progress: Progress
    ) -> History:
        """Train in place on `data.train`; the same arguments give the same weights on one machine."""

    def train_step(self, recipe: Recipe) -> Callable[[Tensor], None] | None:
        """One step of training on a batch of uint8 images, for timing; None for a closed form."""
        del recipe
        return None


class GradientFamily(Family, Trainable):
    """A family that the engine trains: it says what a batch is made of and what is minimised on it.

    `stack_pattern` says which specs may be trained as one stack; such models must have no step that
    changes a buffer, since the members' buffers are stacked and constant.
    """

    @abstractmethod
    def training_tensors(self, data: ImageData) -> tuple[Tensor, ...]:
        """What a batch is drawn from: tensors with one row an example, uint8 images first."""

    @abstractmethod
    def timing_batch(self, images: Tensor) -> tuple[Tensor, ...]:
        """A batch like those of training, made around uint8 `images`."""

    def prepare(self, data: ImageData) -> None:
        """Whatever the initial weights take from the train images."""
        del data

    def finish(self, data: ImageData) -> None:
        """Whatever is to be settled on the train images once the weights are."""
        del data

    @property
    @abstractmethod
    def width(self) -> int:
        """Dimensions of the code."""

    @classmethod
    def stack_pattern(cls, spec: ModelSpec) -> ModelSpec | None:
        """The spec that stands for all that can be trained as one stack with this one; None for none."""
        del spec
        return None

    @classmethod
    def values_of_a_step(cls, spec: ModelSpec, batch_size: int, image_shape: ImageShape) -> int:
        """About how many numbers a step computes and keeps for its gradients, beside the weights."""
        del spec
        return VALUES_PER_PIXEL * batch_size * math.prod(image_shape)

    def fit(
        self, data: ImageData, recipe: Recipe, *, seed: int, device: torch.device, progress: Progress
    ) -> History:
        """Train in place by the engine; raises Diverged."""
        self.train()
        self.prepare(data)
        tensors = self.training_tensors(data)
        (outcome,) = engine.train(Single(self, seed, device), tensors, recipe, progress=progress)
        outcome = _finished(self, outcome, data)
        if isinstance(outcome, Diverged):
            raise outcome
        return outcome

    def train_step(self, recipe: Recipe) -> Callable[[Tensor], None]:
        """One step of training, as the engine does it, on a batch of uint8 images."""
        device = next(self.parameters()).device
        trainee: Trainee = Single(self, 0, device)
        optimiser = engine.make_optimiser(trainee, recipe)
        half_way = torch.full((), 0.5, device=device)

        def step(images: Tensor) -> None:
            self.train()
            rows = tuple(tensor.unsqueeze(0) for tensor in self.timing_batch(images))
            engine.one_step(trainee, optimiser, recipe, rows, half_way, len(images))

        return step


def fit_stack(
    models: Sequence[GradientFamily],
    pattern_spec: ModelSpec,
    data: ImageData,
    recipe: Recipe,
    *,
    seeds: Sequence[int],
    device: torch.device,
    progress: Progress,
) -> list[History | Diverged]:
    """Train models of one `stack_pattern` in place, as one; what became of each."""
    with torch.device("meta"):
        pattern = type(models[0]).build(pattern_spec, data.image_shape)
    for model in models:
        model.train()
        model.prepare(data)
    stack = Stack(models, pattern, seeds, device)
    outcomes = engine.train(stack, models[0].training_tensors(data), recipe, progress=progress)
    stack.unstack()
    return [_finished(model, outcome, data) for model, outcome in zip(models, outcomes, strict=True)]


def _finished(model: GradientFamily, outcome: History | Diverged, data: ImageData) -> History | Diverged:
    """What became of a trained member, without what the stack's padding added."""
    model.eval()
    if isinstance(outcome, Diverged):
        return outcome
    model.finish(data)
    return outcome.narrowed(model.width)


FAMILIES: Registry[type[Family]] = Registry("family")


def find_family(name: str) -> type[Family]:
    """A family by name, one that an installed package brings along too. Raises LatentbenchError."""
    if name in FAMILIES:
        return FAMILIES[name]
    failures = []
    for entry_point in entry_points(group=ENTRY_POINTS):
        try:
            entry_point.load()
        except Exception as error:
            # Whatever a foreign package does wrong is its own, until it is needed.
            failures.append(f"entry point {entry_point.value!r} fails with {type(error).__name__}: {error}")
    if name not in FAMILIES and failures:
        raise LatentbenchError(f"{unknown('family', name, list(FAMILIES))} ({'; '.join(failures)})")
    return FAMILIES[name]


def model_spec(**settings: Any) -> ModelSpec:
    """The spec of a member of the zoo: `family` and its settings, defaults filled in.

    With the key `import`, which says where a model of one's own is, the family goes without saying; with
    `pretrained` it is `pretrained`, though `clip` may be said too.
    Raises LatentbenchError for an unknown family, a setting it does not have, or a value out of range.
    """
    if "import" in settings:
        settings = {"family": "import", **settings}
    if "pretrained" in settings and settings.get("family", "clip") == "clip":
        settings = {**settings, "family": "pretrained"}
    if not isinstance(settings.get("family"), str):
        raise LatentbenchError(
            "the key 'family' is missing"
            if "family" not in settings
            else f"family must be a name, got {settings['family']!r}"
        )
    name = settings["family"]
    return validated(find_family(name).Spec, settings, f"family {name!r}")


def _recorded(content: Any) -> Any:
    """A spec from JSON: of its family's class, or foreign where this installation cannot read it."""
    if not isinstance(content, Mapping) or not isinstance(content.get("family"), str):
        return content
    try:
        return find_family(content["family"]).Spec.model_validate(content)
    except (LatentbenchError, ValidationError):
        return ForeignSpec.model_validate(content)


AnySpec = Annotated[SerializeAsAny[ModelSpec], BeforeValidator(_recorded)]
"""A spec of any family, inside another pydantic model."""

"""The base classes of the families of compressors, and the registry of families."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from typing import Annotated, Any, ClassVar, Generic, Self, TypeVar

import torch
from pydantic import BeforeValidator, SerializeAsAny, ValidationError
from torch import Tensor, nn
from typing_extensions import override

from latentbench.data.errors import LatentbenchError
from latentbench.data.images import ImageData
from latentbench.data.registry import Registry, unknown
from latentbench.data.text.validation import validated
from latentbench.models.networks.backbones import ImageShape
from latentbench.models.resolver import Resolver
from latentbench.models.spec import REFERENCE, Display, ForeignSpec, ModelSpec, ReferenceSpec
from latentbench.models.training import engine
from latentbench.models.training.engine import Progress, Single, Trainable
from latentbench.models.training.history import Diverged, History
from latentbench.models.training.recipe import Recipe
from latentbench.models.training.stacking import Stack

ENTRY_POINTS = "latentbench.families"
"""The entry point group in which an installed package names modules that register families."""


VALUES_PER_PIXEL = 16
"""Numbers per pixel of a training batch: image, reconstruction and activations, with gradients."""

SpecT = TypeVar("SpecT", bound=ModelSpec)


class Family(nn.Module, Generic[SpecT]):
    """Base of all families. A subclass is one file, registered with `@FAMILIES.register(name)`."""

    Spec: ClassVar[type[ModelSpec]] = ModelSpec
    """The class of the family's settings: the type argument, available at run time."""
    paper: ClassVar[str] = ""
    display: ClassVar[Display] = Display()
    takes_seed: ClassVar[bool] = False
    """True if the seed changes the weights, unlike with a closed form or loaded ones."""

    def __init__(self, spec: SpecT, image_shape: ImageShape) -> None:
        super().__init__()
        self.spec = spec
        self.image_shape = image_shape

    @classmethod
    def build(cls, spec: SpecT, image_shape: ImageShape) -> Self:
        """Build an untrained model."""
        return cls(spec, image_shape)

    @classmethod
    @abstractmethod
    def resolve(cls, spec: SpecT, data: ImageData, resolver: Resolver) -> SpecT:
        """Return the spec completed with what only the data and the files that it names tell.

        Called once per model of a suite, before anything is trained. Raises LatentbenchError.
        """

    @classmethod
    def values_to_train(cls, spec: SpecT, image_shape: ImageShape) -> int:
        """Count the numbers that training has to hold, without allocating them."""
        with torch.device("meta"):
            model = cls.build(spec, image_shape)
        return sum(tensor.numel() for tensor in model.state_dict().values())

    @abstractmethod
    def fit(
        self, data: ImageData, recipe: Recipe, *, seed: int, device: torch.device, progress: Progress
    ) -> History:
        """Train in place on `data.train`; the same arguments give the same weights on one machine."""

    def train_step(self, recipe: Recipe) -> Callable[[Tensor], None] | None:
        """Return one training step on a batch of uint8 images, for timing; None for a closed form."""


class FittedFamily(Family[SpecT]):
    """A family whose weights are computed from the train images."""

    @override
    @classmethod
    def resolve(cls, spec: SpecT, data: ImageData, resolver: Resolver) -> SpecT:
        return needs_train_images(spec, data)


def needs_train_images(spec: SpecT, data: ImageData) -> SpecT:
    """Return the same spec. Raises LatentbenchError for data without train images."""
    if data.test_only:
        raise LatentbenchError(
            f"{data.name}: has only test images, and {spec.label} has to be trained; use data with a "
            f"train split"
        )
    return spec


class GradientFamily(FittedFamily[SpecT], Trainable):
    """A family that the engine trains: a subclass defines the content of a batch and the objective.

    `stack_pattern` decides which specs can be trained as one stack. A step of such a model must not change
    a buffer, because the buffers of a stack are constant.
    """

    takes_seed: ClassVar[bool] = True

    @abstractmethod
    def training_tensors(self, data: ImageData) -> tuple[Tensor, ...]:
        """Return the tensors that batches are drawn from: one row per example, uint8 images first."""

    @abstractmethod
    def timing_batch(self, images: Tensor) -> tuple[Tensor, ...]:
        """Make a batch like those of training around uint8 `images`."""

    def prepare(self, data: ImageData) -> None:
        """Set initial weights that depend on the train images."""

    def finish(self, data: ImageData) -> None:
        """Compute after training what depends on the final weights and the train images."""

    @property
    @abstractmethod
    def width(self) -> int:
        """The number of dimensions of the code."""

    @classmethod
    def stack_pattern(cls, spec: SpecT) -> SpecT | None:
        """Return the spec that represents all models trainable in one stack with this one; None for none."""

    @classmethod
    def values_of_a_step(cls, spec: SpecT, batch_size: int, image_shape: ImageShape) -> int:
        """Estimate how many numbers a step computes and keeps for its gradients, without the weights."""
        del spec
        return VALUES_PER_PIXEL * batch_size * math.prod(image_shape)

    @override
    def fit(
        self, data: ImageData, recipe: Recipe, *, seed: int, device: torch.device, progress: Progress
    ) -> History:
        """Train in place with the engine; raises Diverged."""
        self.train()
        self.prepare(data)
        tensors = self.training_tensors(data)
        (outcome,) = engine.train(Single(self, seed, device), tensors, recipe, progress=progress)
        outcome = _finished(self, outcome, data)
        if isinstance(outcome, Diverged):
            raise outcome
        return outcome

    @override
    def train_step(self, recipe: Recipe) -> Callable[[Tensor], None]:
        return engine.step_on_batches(self, self.timing_batch, recipe)


def fit_stack(
    models: Sequence[GradientFamily[Any]],
    pattern_spec: ModelSpec,
    data: ImageData,
    recipe: Recipe,
    *,
    seeds: Sequence[int],
    device: torch.device,
    progress: Progress,
) -> list[History | Diverged]:
    """Train models of one `stack_pattern` in place, as one stack; return the outcome of each."""
    with torch.device("meta"):
        pattern = type(models[0]).build(pattern_spec, data.image_shape)
    for model in models:
        model.train()
        model.prepare(data)
    stack = Stack(models, pattern, seeds, device)
    outcomes = engine.train(stack, models[0].training_tensors(data), recipe, progress=progress)
    stack.unstack()
    return [_finished(model, outcome, data) for model, outcome in zip(models, outcomes, strict=True)]


def _finished(model: GradientFamily[Any], outcome: History | Diverged, data: ImageData) -> History | Diverged:
    """Finish a trained member; its history loses what the stack's padding added."""
    model.eval()
    if isinstance(outcome, Diverged):
        return outcome
    model.finish(data)
    return outcome.narrowed(model.width)


FAMILIES: Registry[type[Family[Any]]] = Registry("family")
ZOO = "latentbench.models.zoo"
"""Imported by its name, because it imports this module."""


def load_installed_families() -> list[str]:
    """Register the families of installed packages; return one line for each package that fails."""
    failures = []
    for entry_point in entry_points(group=ENTRY_POINTS):
        try:
            entry_point.load()
        except Exception as error:
            failures.append(f"entry point {entry_point.value!r} fails with {type(error).__name__}: {error}")
    return failures


def find_family(name: str) -> type[Family[Any]]:
    """Return a family by name; installed packages may add families. Raises LatentbenchError."""
    if name in FAMILIES:
        return FAMILIES[name]
    import_module(ZOO)  # registers latentbench's own
    if name in FAMILIES:
        return FAMILIES[name]
    # A broken package matters only if the family asked for is not found elsewhere.
    failures = load_installed_families()
    if name not in FAMILIES and failures:
        raise LatentbenchError(f"{unknown('family', name, list(FAMILIES))} ({'; '.join(failures)})")
    return FAMILIES[name]


def model_spec(**settings: Any) -> ModelSpec:
    """Make the spec of a model from `family` and its settings, with defaults filled in.

    The key `import`, which names your own model, implies the family `import`; the key `pretrained` implies
    the family `pretrained`, and `family: clip` may stand next to it.
    Raises LatentbenchError for an unknown family, an unknown setting, or a value out of range.
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
    """Read a spec from JSON as its family's class, or as a ForeignSpec if this installation cannot."""
    if not isinstance(content, Mapping) or not isinstance(content.get("family"), str):
        return content
    try:
        if content["family"] == REFERENCE:
            return ReferenceSpec.model_validate(content)
        return find_family(content["family"]).Spec.model_validate(content)
    except (LatentbenchError, ValidationError):
        return ForeignSpec.model_validate(content)


AnySpec = Annotated[SerializeAsAny[ModelSpec], BeforeValidator(_recorded)]
"""The type of a field of a pydantic model that holds a spec of any family."""

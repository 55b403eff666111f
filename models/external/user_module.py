"""Your own model, named in a suite by its import path; measured unchanged, never trained here."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, Self, cast

import torch
from pydantic import AfterValidator, Field, JsonValue
from torch import Tensor, nn
from typing_extensions import override

from latentbench.data.captioned.schemes import DIGIT_CAPTIONS
from latentbench.data.errors import LatentbenchError
from latentbench.data.images import ImageData
from latentbench.data.text.visible import visible
from latentbench.models.codes import Shape
from latentbench.models.external import state_dicts
from latentbench.models.external.base import Digest, LoadedFamily, LoadedSpec, mean_and_log_var, stated
from latentbench.models.external.trial import (
    LOW_PRECISION_TOLERANCE,
    TOLERANCE,
    Trial,
    in_range,
    trial_images,
)
from latentbench.models.family import FAMILIES
from latentbench.models.networks.backbones import ImageShape
from latentbench.models.protocols import Posterior
from latentbench.models.resolver import Resolver
from latentbench.models.seeds import derive
from latentbench.models.source_code import resolve_object
from latentbench.models.source_code.hashes import user_code
from latentbench.models.spec import Display

METHODS = "encode and decode, or encode_image and encode_text"
Channels = Literal[1, 3]


def _target(given: str) -> str:
    if not re.fullmatch(r"[\w.]+:[\w.]+|[\w.-]+", given):
        raise ValueError("must be module:attribute, or the name of an installed model")
    return given


class ImportSpec(LoadedSpec):
    """Settings of an imported model."""

    target: Annotated[str, AfterValidator(_target), Field(alias="import")]
    """The object to import; the key in a suite is `import`."""
    name: Annotated[str, AfterValidator(visible)] | None = None
    """The model's name in tables; by default the name of the attribute."""
    kwargs: dict[str, JsonValue] = Field(default_factory=dict)
    checkpoint: Annotated[str, Field(min_length=1)] | None = None
    """A file of weights, relative to the suite's folder; without one the model keeps its initial weights."""
    channels: Channels | None = None
    """Channels of the images that the model takes; found by a trial if not given."""
    code_sha256: Digest | None = None
    """Digest of the code that the model consists of; its results are reused while the code is unchanged."""

    @property
    @override
    def label(self) -> str:
        """The model's name with the size of its code, such as `my-vae-16` or `my-vae-4×8×8`."""
        return f"{self.series}-{self.size}" if self.latent_dim else self.series

    @property
    @override
    def series(self) -> str:
        """The model's name: the one given, or that of the attribute."""
        return self.name or self.target.rpartition(":")[2].rpartition(".")[2]


@FAMILIES.register("import")
class Imported(LoadedFamily[ImportSpec]):
    """Your own model, `import: my_module:build`, measured unchanged and never trained.

    `build(**kwargs)` returns a module with `encode` and `decode`, or `encode_image` and `encode_text`. It
    gets copies of its inputs, in the dtype of its weights, and its outputs are copied to float32: so it may
    work in place, return views or buffers, and use any precision. A grey image is repeated for a model of 3
    channels; of its grey reconstruction the mean over the channels is measured.
    """

    Spec: ClassVar[type[ImportSpec]] = ImportSpec
    paper: ClassVar[str] = "the user's own"
    display: ClassVar[Display] = Display(160)

    def __init__(self, spec: ImportSpec, image_shape: ImageShape, module: object) -> None:
        super().__init__(spec, image_shape)
        self.module: Any = module
        self.channels = spec.channels or image_shape[0]

    @override
    @classmethod
    def build(cls, spec: ImportSpec, image_shape: ImageShape) -> Self:
        """Build the user's module with its own seed: the same weights for every seed of a case."""
        target = spec.target
        found = resolve_object.find(target)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(0, "imported weights", target))
            module = resolve_object.call(found, spec.kwargs, target)
        if not isinstance(module, nn.Module):
            raise LatentbenchError(
                f"{target}: returned {type(module).__name__}, expected a torch.nn.Module with {METHODS}"
            )
        return cast(Self, _kind_of(module, target)(spec, image_shape, module))

    @override
    @classmethod
    def resolve(cls, spec: ImportSpec, data: ImageData, resolver: Resolver) -> ImportSpec:
        """Return the spec with code shape, channels and the digests of weights and code, after a trial."""
        resolve_object.make_importable(resolver.folder)
        model = cls.build(spec, data.image_shape).cpu().eval()
        sha256 = _keep_weights(model, spec, resolver)
        shape = model.tried_on(data, torch.device("cpu"))
        resolved = stated(spec, spec.target, shape=shape, sha256=sha256)
        code = user_code(spec.target)
        return resolved.model_copy(update={"channels": model.channels, "code_sha256": code})

    @override
    @property
    def holder(self) -> nn.Module:
        module: nn.Module = self.module
        return module

    @override
    @property
    def where(self) -> str:
        return self.spec.target

    @torch.inference_mode()
    def tried_on(self, data: ImageData, device: torch.device) -> Shape:
        """Try the model on two images of `data`, with other channels if theirs do not fit.

        Returns the shape of the code. Raises LatentbenchError with what is wrong, also if the model would
        drop the colours.
        """
        x = trial_images(data).to(device)
        if self.spec.channels is not None:
            self._must_keep_colour()
            return self.tried(x)
        try:
            return self.tried(x)
        except LatentbenchError as error:
            first = error
        self.channels = 4 - self.image_shape[0]
        try:
            grey = x.mean(1, keepdim=True) if self.channels == 1 else x
            shape = self.tried(grey)
        except LatentbenchError:
            raise first from None
        self._must_keep_colour()
        return shape

    def _must_keep_colour(self) -> None:
        if self.channels < self.image_shape[0]:
            raise LatentbenchError(
                f"{self.where}: takes images of {self.channels} channel, and the data have "
                f"{self.image_shape[0]}; use grey images, or a model for colour"
            )

    @abstractmethod
    def tried(self, x: Tensor) -> Shape:
        """Return the shape of the code if all methods work on two images `[2, C, H, W]`.

        Raises LatentbenchError with the method, what it returned and what was expected.
        """

    @property
    def trial(self) -> Trial:
        """The trial, with a tolerance that suits the precision of the weights."""
        return Trial(self.where, TOLERANCE if self.dtype.itemsize >= 4 else LOW_PRECISION_TOLERANCE)

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type of the module's weights, in which it gets its inputs."""
        weights = (tensor.dtype for tensor in self.parameters() if tensor.is_floating_point())
        return next(weights, torch.float32)

    def _input(self, given: Tensor) -> Tensor:
        """Copy an input, so that the module may modify it."""
        copy: Tensor = given.to(self.dtype, copy=True, memory_format=torch.contiguous_format)
        return copy

    def _images(self, x: Tensor) -> Tensor:
        return self._input(x.expand(-1, self.channels, -1, -1) if x.shape[1] == 1 else x)

    def _output(self, given: object, method: str, expected: str, device: torch.device) -> Tensor:
        """Copy a tensor that the module returned, which may be a view, a buffer, or on another device."""
        if not isinstance(given, Tensor):
            raise LatentbenchError(
                f"{self.where}: {method} returned {type(given).__name__}, expected {expected}"
            )
        return given.to(device, torch.float32, copy=True)

    def __deepcopy__(self, memo: dict[int, Any]) -> Imported:
        """Build the module anew, because it may have attributes that cannot be copied."""
        copied = Imported.build(self.spec, self.image_shape)
        copied.load_state_dict(self.state_dict())
        copied.to(next((tensor.device for tensor in self.state_dict().values()), torch.device("cpu")))
        memo[id(self)] = copied.train(self.training)
        return copied


class ImportedAutoencoder(Imported):
    """A user's module with `encode` and `decode`."""

    def encode(self, x: Tensor) -> Posterior:
        """Map images in [0, 1] `[B, C, H, W]` to q(z | x), from any form that the user's `encode` returns."""
        mean, log_var = mean_and_log_var(self.module.encode(self._images(x)))
        expected = (
            "a tensor [B, *shape], a pair (mean, log_var) of them, a Posterior, or what diffusers returns"
        )
        return Posterior(
            self._output(mean, "encode", expected, x.device),
            None if log_var is None else self._output(log_var, "encode", expected, x.device),
        )

    def decode(self, z: Tensor) -> Tensor:
        """Map codes `[B, *shape]` to images in [0, 1] `[B, C, H, W]`, clamping what rounding adds."""
        channels, *sides = self.image_shape
        expected = f"a tensor [B, {self.channels}, {sides[0]}, {sides[1]}]"
        given = self.module.decode(self._input(z))
        image = self._output(getattr(given, "sample", given), "decode", expected, z.device)
        if image.shape[1:] == (self.channels, *sides) and channels == 1:
            image = image.mean(1, keepdim=True)
        return in_range(image)

    @override
    def tried(self, x: Tensor) -> Shape:
        return self.trial.autoencoder(self, x)


class ImportedImageText(Imported):
    """A user's module with `encode_image` and `encode_text`."""

    def encode_image(self, x: Tensor) -> Tensor:
        """Map images in [0, 1] `[B, C, H, W]` to unit vectors `[B, D]`."""
        given = self.module.encode_image(self._images(x))
        return self._output(given, "encode_image", "a tensor [B, D]", x.device)

    def encode_text(self, captions: Sequence[str]) -> Tensor:
        """Map captions to unit vectors `[B, D]`."""
        device = next((tensor.device for tensor in self.state_dict().values()), torch.device("cpu"))
        given = self.module.encode_text(list(captions))
        return self._output(given, "encode_text", "a tensor [B, D]", device)

    @override
    def tried(self, x: Tensor) -> Shape:
        return self.trial.image_text(self, x, DIGIT_CAPTIONS.captions[: len(x)])


def adapted(model: object, image_shape: ImageShape, name: str) -> Imported:
    """Wrap a model that was built in Python, to be measured as in a suite; errors begin with `name`."""
    spec = ImportSpec.model_construct(None, **{"import": name})
    return _kind_of(model, name)(spec, image_shape, model)


def _kind_of(module: object, target: str) -> type[Imported]:
    """Return how a module is measured: as an autoencoder if it has encode or decode."""
    kinds: tuple[tuple[type[Imported], tuple[str, str]], ...] = (
        (ImportedAutoencoder, ("encode", "decode")),
        (ImportedImageText, ("encode_image", "encode_text")),
    )
    has = {name for _, names in kinds for name in names if callable(getattr(module, name, None))}
    for kind, names in kinds:
        if has.issuperset(names):
            return kind
    missing = next((n for _, names in kinds if has & set(names) for n in names if n not in has), None)
    raise LatentbenchError(
        f"{target}: {type(module).__name__} has no {missing or 'encode'}, expected {METHODS}"
    )


def _keep_weights(model: Imported, spec: ImportSpec, resolver: Resolver) -> str:
    """Load the checkpoint, if there is one, and store the weights; return their sha256."""
    try:
        state = state_dicts.storable(model.module.state_dict())
    except LatentbenchError as error:
        raise LatentbenchError(f"{spec.target}: {error}") from None
    if spec.checkpoint is None:
        found = state_dicts.Weights(state, state_dicts.fingerprint(state))
    else:
        path = resolver.path(spec.checkpoint)
        found = state_dicts.read(path, allow_pickle=resolver.allow_pickle)
        state_dicts.apply(model.module, found.state, f"{spec.target}: checkpoint {path.name}")
    state_dicts.keep(found.state, found.sha256)
    return found.sha256

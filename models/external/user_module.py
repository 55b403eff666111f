"""A model of one's own, named in a suite by where it is imported from; measured as it is, never trained."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Self, cast

import torch
from pydantic import AfterValidator, Field, JsonValue
from torch import Tensor, nn
from typing_extensions import override

from latentbench.data.captioned.schemes import DIGIT_CAPTIONS
from latentbench.data.errors import LatentbenchError
from latentbench.data.images import ImageData
from latentbench.models.external import resolve_object, state_dicts
from latentbench.models.external.base import Digest, LoadedFamily, LoadedSpec, stated
from latentbench.models.family import FAMILIES, Display
from latentbench.models.networks.backbones import ImageShape
from latentbench.models.protocols import Posterior
from latentbench.models.resolver import Resolver
from latentbench.models.seeds import derive
from latentbench.models.source_code import user_code
from latentbench.models.spec import ModelSpec

TOLERANCE = 1e-3
"""How far a pixel may lie outside [0, 1], and the length of an embedding from 1."""
METHODS = "encode and decode, or encode_image and encode_text"


def _target(given: str) -> str:
    if not re.fullmatch(r"[\w.]+:[\w.]+|[\w.-]+", given):
        raise ValueError("must be module:attribute, or the name of an installed model")
    return given


class ImportSpec(LoadedSpec):
    """Settings of an imported model."""

    target: Annotated[str, AfterValidator(_target), Field(alias="import")]
    """What is imported; the key in a suite is `import`."""
    name: Annotated[str, Field(pattern=r"^\S(.*\S)?$")] | None = None
    """What tables call the model, in place of the attribute's name."""
    kwargs: dict[str, JsonValue] = Field(default_factory=dict)
    checkpoint: Annotated[str, Field(min_length=1)] | None = None
    """A file of weights, by its path from the suite's folder; without one they are as they were built."""
    code_sha256: Digest | None = None
    """Hash of the code behind what is imported; its results are reused while it is unchanged."""

    @property
    def label(self) -> str:
        """The model's name with its width, such as `my-vae-16`."""
        return f"{self.series}-{self.latent_dim}" if self.latent_dim else self.series

    @property
    def series(self) -> str:
        """The model's name: the one given, or the attribute's."""
        return self.name or self.target.rpartition(":")[2].rpartition(".")[2]


@FAMILIES.register("import")
class Imported(LoadedFamily[ImportSpec]):
    """A model of one's own, `import: my_module:build`, measured as it is and never trained.

    `build(**kwargs)` returns a module with `encode` and `decode`, or `encode_image` and `encode_text`.
    """

    Spec: ClassVar[type[ModelSpec]] = ImportSpec
    paper: ClassVar[str] = "the user's own"
    display: ClassVar[Display] = Display(160)

    def __init__(self, spec: ImportSpec, module: object, image_shape: ImageShape) -> None:
        super().__init__(spec, image_shape)
        self.module: Any = module

    @override
    @classmethod
    def build(cls, spec: ImportSpec, image_shape: ImageShape) -> Self:
        """The user's module, built from seeds of its own: the same weights whatever the case's seed."""
        target = spec.target
        found = resolve_object.find(target)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(0, "imported weights", target))
            module = resolve_object.call(found, spec.kwargs, target)
        if not isinstance(module, nn.Module):
            raise LatentbenchError(
                f"{target}: returned {type(module).__name__}, expected a torch.nn.Module with {METHODS}"
            )
        return cast(Self, _kind_of(module, target)(spec, module, image_shape))

    @override
    @classmethod
    def resolve(cls, spec: ImportSpec, data: ImageData, resolver: Resolver) -> ImportSpec:
        """The spec with the width of the code and the digests of weights and code, after a trial.

        The model is built, given its weights, and tried on two images of `data`.
        """
        resolve_object.make_importable(resolver.folder)
        model = cls.build(spec, data.image_shape).cpu().eval()
        sha256 = _keep_weights(model, spec, resolver)
        width = model.tried_on(data, torch.device("cpu"))
        resolved = stated(spec, spec.target, width=width, sha256=sha256)
        code = user_code(spec.target, resolver.folder)
        return resolved.model_copy(update={"code_sha256": code})

    @property
    def holder(self) -> nn.Module:
        """The user's module."""
        module: nn.Module = self.module
        return module

    @property
    def where(self) -> str:
        """The import's target."""
        return self.spec.target

    @torch.inference_mode()
    def tried_on(self, data: ImageData, device: torch.device) -> int:
        """The width of the code, after a trial on two test images of `data`."""
        images = data.test.images[torch.arange(2) % len(data.test)]
        return self.tried((images.float() / 255).to(device))

    @abstractmethod
    def tried(self, x: Tensor) -> int:
        """The width of the code, if all the methods do what they should with two images `[2, C, H, W]`.

        Raises LatentbenchError naming the method, what it returned and what was expected.
        """

    def __deepcopy__(self, memo: dict[int, Any]) -> Imported:
        """Built anew: what a user's module holds beside its weights need not allow a copy."""
        copied = Imported.build(self.spec, self.image_shape)
        copied.load_state_dict(self.state_dict())
        copied.to(next((tensor.device for tensor in self.state_dict().values()), torch.device("cpu")))
        memo[id(self)] = copied.train(self.training)
        return copied

    def _must(self, holds: bool, method: str, returned: str, expected: str) -> None:
        if not holds:
            raise LatentbenchError(f"{self.spec.target}: {method} returned {returned}, expected {expected}")

    def _must_be_tensor(self, value: object, method: str, expected: str) -> None:
        self._must(isinstance(value, Tensor), method, type(value).__name__, expected)

    def _must_be_finite(self, value: Tensor, method: str) -> None:
        self._must(bool(value.isfinite().all()), method, "values that are not finite", "finite ones")


class ImportedAutoencoder(Imported):
    """A user's module with `encode` and `decode`."""

    def encode(self, x: Tensor) -> Posterior:
        """Images in [0, 1] `[B, C, H, W]` to q(z | x), from whatever form the user's `encode` gives it."""
        given = self.module.encode(x)
        if isinstance(given, Posterior):
            mean, log_var = given.mean, given.log_var
        else:
            mean, log_var = given if isinstance(given, tuple | list) and len(given) == 2 else (given, None)
        expected = "a tensor [B, D], a pair (mean, log_var) of them, or a Posterior"
        for tensor in (mean,) if log_var is None else (mean, log_var):
            self._must_be_tensor(tensor, "encode", expected)
        return Posterior(mean.float(), None if log_var is None else log_var.float())

    def decode(self, z: Tensor) -> Tensor:
        """Codes `[B, D]` to images in [0, 1] `[B, C, H, W]`."""
        image = self.module.decode(z)
        self._must_be_tensor(image, "decode", f"a tensor [B, {str(list(self.image_shape))[1:]}")
        float_image: Tensor = image.float()
        return float_image

    def tried(self, x: Tensor) -> int:
        """The width of the code."""
        with resolve_object.user_code(f"{self.spec.target}: encode"):
            posterior, again = self.encode(x), self.encode(x)
        mean, log_var = posterior.mean, posterior.log_var
        self._must(
            mean.ndim == 2 and len(mean) == len(x) and mean.shape[1] > 0,
            "encode",
            str(list(mean.shape)),
            f"[{len(x)}, D]" + (" (flatten the code, and shape it again in decode)" if mean.ndim > 2 else ""),
        )
        self._must_be_finite(mean, "encode")
        if log_var is not None:
            shapes = f"log_var {list(log_var.shape)}", f"{list(mean.shape)} as of the mean"
            self._must(log_var.shape == mean.shape, "encode", *shapes)
            self._must_be_finite(log_var, "encode")
        same = torch.equal(mean, again.mean)
        self._must(same, "encode", "two means for one input", "the same twice (the mean, not a sample)")
        self._try_decode(mean, x)
        return mean.shape[1]

    def _try_decode(self, codes: Tensor, x: Tensor) -> None:
        with resolve_object.user_code(f"{self.spec.target}: decode"):
            image = self.decode(codes)
        self._must(image.shape == x.shape, "decode", str(list(image.shape)), str(list(x.shape)))
        self._must_be_finite(image, "decode")
        low, high = image.min().item(), image.max().item()
        self._must(
            low >= -TOLERANCE and high <= 1 + TOLERANCE,
            "decode",
            f"values from {low:.4g} to {high:.4g}",
            "all within [0, 1] (end with a sigmoid or a clamp)",
        )


class ImportedImageText(Imported):
    """A user's module with `encode_image` and `encode_text`."""

    def encode_image(self, x: Tensor) -> Tensor:
        """Images in [0, 1] `[B, C, H, W]` to unit vectors `[B, D]`."""
        return self._embedding(self.module.encode_image(x), "encode_image")

    def encode_text(self, captions: Sequence[str]) -> Tensor:
        """Captions to unit vectors `[B, D]`."""
        return self._embedding(self.module.encode_text(list(captions)), "encode_text")

    def _embedding(self, given: Any, method: str) -> Tensor:
        self._must_be_tensor(given, method, "a tensor [B, D]")
        embedding: Tensor = given.float()
        return embedding

    def tried(self, x: Tensor) -> int:
        """The width of the space."""
        with resolve_object.user_code(f"{self.spec.target}: encode_image"):
            image, again = self.encode_image(x), self.encode_image(x)
        with resolve_object.user_code(f"{self.spec.target}: encode_text"):
            text = self.encode_text(DIGIT_CAPTIONS.captions[: len(x)])
        width = image.shape[1] if image.ndim == 2 else 0
        for method, embedding in (("encode_image", image), ("encode_text", text)):
            expected = f"[{len(x)}, {width or 'D'}]"
            fits = embedding.ndim == 2 and embedding.shape == (len(x), width)
            self._must(fits, method, str(list(embedding.shape)), expected)
            self._must_be_finite(embedding, method)
            length = embedding.norm(dim=1)
            unit = bool(((length - 1).abs() <= TOLERANCE).all())
            self._must(unit, method, f"vectors of length {length[0].item():.4g}", "length 1 (L2-normalised)")
        same = torch.equal(image, again)
        self._must(same, "encode_image", "two embeddings for one input", "the same twice")
        return width


def adapted(model: object, image_shape: ImageShape, name: str) -> Imported:
    """A model that the user has built in Python, as a suite would measure it; errors begin with `name`."""
    spec = ImportSpec.model_construct(None, **{"import": name})
    return _kind_of(model, name)(spec, model, image_shape)


def _kind_of(module: object, target: str) -> type[Imported]:
    """How a module is measured: as an autoencoder where it can encode or decode at all."""
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
    """Give the model its checkpoint's weights, if it has one, and keep them; their sha256."""
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

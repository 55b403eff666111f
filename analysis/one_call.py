"""The function `measure`: any model, any images, any of the analyses, in one call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn

from latentbench.analysis.catalogue import ANALYSES
from latentbench.analysis.core.data_context import DataContext, to_uint8
from latentbench.analysis.core.devices import find_device
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.features.extractors import Feature
from latentbench.analysis.features.extractors import load as load_feature
from latentbench.analysis.features.request import parse_all
from latentbench.analysis.features.stored_judges import JudgeProgress
from latentbench.analysis.generation.feature_distances import OF_FEATURES
from latentbench.analysis.prompts.own_vectors import need_words_alone
from latentbench.analysis.result import Result
from latentbench.data.errors import LatentbenchError
from latentbench.data.images import ImageData, Split
from latentbench.data.loading import load
from latentbench.models.external.open_clip import Pretrained, check_size
from latentbench.models.external.user_module import Imported, adapted
from latentbench.models.family import Family
from latentbench.models.protocols import Encoder, ImageCodec, ImageTextModel
from latentbench.models.seeds import derive


def measure(
    model: object,
    data: str | ImageData | Tensor = "mnist",
    *,
    analyses: str | Sequence[str] | None = None,
    features: Sequence[str | Feature] = (),
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> Result:
    """Measure a model on images: with the same code, and the same numbers, as a suite that names it.

    Args:
        model: A `torch.nn.Module`, or any object, with `encode` and `decode`, or with `encode_image` and
            `encode_text`. `encode` takes float images in [0, 1] `[B, C, H, W]` and returns codes `[B, D]`, a
            pair (mean, log-variance) of them, or a `Posterior`; `decode` takes codes and returns images in
            [0, 1]. It is measured in evaluation mode on `device`; its mode and device are restored.
        data: The name of a data set or a `folder:PATH`, as `latentbench.data.load` takes it; an `ImageData`;
            or images `[N, C, H, W]`, uint8 or float in [0, 1], which have no labels. Hand in one `ImageData`
            to measure several models: what they share is then computed once.
        analyses: One or more names of analyses, such as "reconstruction". By default every analysis that is
            neither opt-in nor a measurement of speed, and `features` if there are any.
        features: Networks in whose features images are compared, as a suite names them ("inception",
            "timm:NAME", "open_clip:NAME/TAG", "lpips:NET", each with `?weights=FILE` for a local file), or as
            `analysis.features.extractors.load` returns them.
        seed: The seed of every random draw made while measuring.
        device: The device that the model runs on.

    Returns:
        A `Result`, which prints as a table and converts to pandas with `to_frame()`.

    Raises:
        LatentbenchError: In one line, for an unknown analysis, device or data set, for images of the wrong
            shape or range, and for a model whose methods do not return what they should.

    >>> import torch
    >>> class Halves:
    ...     def encode(self, x):
    ...         return x.flatten(1)[:, : x[0].numel() // 2]
    ...     def decode(self, z):
    ...         return torch.cat([z, z], 1).view(len(z), 1, 8, 8)
    >>> images = torch.rand(30, 1, 4, 8, generator=torch.Generator().manual_seed(0)).repeat(1, 1, 2, 1)
    >>> result = measure(Halves(), images, analyses="reconstruction")
    >>> round(result["mse"].value, 4), result["ssim"].reason
    (0.0, 'images are smaller than the window of 11 px')
    """
    chosen = [ANALYSES[name] for name in _names(analyses, bool(features))]
    images, place = _images(data), find_device(device)
    name = model.spec.label if isinstance(model, Family) else type(model).__name__
    family = model if isinstance(model, Family) else adapted(model, images.image_shape, name)
    if isinstance(family, Pretrained) and not need_words_alone(chosen):
        check_size(family.spec, images)
    with _evaluated(family, place):
        if isinstance(family, Imported):
            family.tried_on(images, place)
        assert isinstance(family, Encoder | ImageCodec | ImageTextModel)
        subject = Subject(family, context_of(images, place, features), seed=derive(seed, "measure"))
        measurements = {analysis.name: analysis.measure(subject) for analysis in chosen}
    return Result(name, images.name, seed, measurements)


def context_of(data: ImageData, device: torch.device, features: Sequence[str | Feature] = ()) -> DataContext:
    """Return the data with judges and features, stored with the data: models on the same data share it."""
    contexts, key = data.once(_contexts), (device, *features)
    if key not in contexts:
        loaded = parse_all([each if isinstance(each, str) else each.name for each in features])
        networks = tuple(
            load_feature(request) if isinstance(given, str) else given
            for request, given in zip(loaded, features, strict=True)
        )
        with _shown_progress() as progress:
            contexts[key] = DataContext.of(data, device, features=networks, progress=progress)
    return contexts[key]


@contextmanager
def _shown_progress() -> Iterator[JudgeProgress]:
    """Show on standard error how far the training of judges is, which takes minutes once; else nothing."""
    with Progress(console=Console(stderr=True), transient=True) as shown:

        def progress(number: int, count: int) -> Callable[[int, int], None]:
            task = shown.add_task(f"training judge {number} of {count}")
            return lambda done, total: shown.update(task, completed=done, total=total)

        yield progress


def _contexts(data: ImageData) -> dict[tuple[object, ...], DataContext]:  # noqa: ARG001 - the key is the data
    return {}


def _names(analyses: str | Sequence[str] | None, in_features: bool) -> Sequence[str]:
    if analyses is None:
        usual = [name for name, analysis in ANALYSES.items() if not (analysis.opt_in or analysis.exclusive)]
        return [*usual, *OF_FEATURES] if in_features else usual
    return [analyses] if isinstance(analyses, str) else list(dict.fromkeys(analyses))


def _images(data: str | ImageData | Tensor) -> ImageData:
    if isinstance(data, str):
        return load(data)
    if isinstance(data, ImageData):
        return data
    if not isinstance(data, Tensor):
        raise LatentbenchError(
            f"data: got {type(data).__name__}, expected a name, an ImageData or images [N, C, H, W]"
        )
    if data.is_floating_point():
        if not bool(((data >= 0) & (data <= 1)).all()):
            raise LatentbenchError("data: float images must be finite and within [0, 1]")
        data = to_uint8(data)
    split = Split(data.detach().cpu(), None)
    return ImageData("images", split, split, ())


@contextmanager
def _evaluated(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Put a model into evaluation mode on a device, and then restore its modes and device."""
    modes = [(module, module.training) for module in model.modules()]
    before = next((tensor.device for tensor in (*model.parameters(), *model.buffers())), device)
    try:
        model.eval().to(device)
        yield
    finally:
        model.to(before)
        for module, training in modes:
            module.training = training

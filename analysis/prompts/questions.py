"""The texts for a model with its own text encoder, and images and texts in its space.

For captioned data the texts are the captions: images of unseen captions, among all 90, with each of the
scheme's templates. For other data with classes they are the class names, in the templates that came with
the data or in “a photo of a {}.”.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from latentbench.analysis.core.subject import Subject
from latentbench.analysis.prompts.own_vectors import from_originals, own_vectors
from latentbench.analysis.prompts.text_vectors import text_vectors
from latentbench.analysis.zero_shot.zero_shot_metrics import ensemble, hits_at, tied_accuracy
from latentbench.data.captioned.draw import CaptionedData, with_captions
from latentbench.data.errors import DataError
from latentbench.data.images import ImageData
from latentbench.data.reading.prompted import PromptedImageData, templates_of
from latentbench.data.sources.class_names import prompts_of
from latentbench.models.protocols import ImageTextModel


@dataclass(frozen=True, eq=False)
class Question:
    """Images `[N, C, H, W]`, the class of each (int64 `[N]`, of K), and the texts that name the classes.

    `texts` and `shortened` hold K texts per template; `readable`, bool `[N]`, is False for a file that is not
    an image. `by_captions` means that the classes are captions, a sample of all possible ones.
    """

    images: Tensor
    truth: Tensor
    readable: Tensor
    names: tuple[str, ...]
    templates: tuple[str, ...]
    texts: tuple[tuple[str, ...], ...]
    shortened_templates: tuple[str, ...]
    shortened: tuple[tuple[str, ...], ...]
    train: Tensor
    by_captions: bool = False

    @property
    def clusters(self) -> Tensor | None:
        """The cluster of each image, int64 `[N]`; None where images count as independent.

        Captions are a sample of all combinations, so images of one caption are a cluster.
        The classes of a folder are complete, so given them, images are independent.
        """
        return self.truth if self.by_captions else None


def question(data: ImageData) -> Question:
    """Return the texts and images for `data`. Raises DataError for data without classes."""
    try:
        return _by_captions(with_captions(data))
    except DataError:
        return _by_names(data)


def _by_captions(drawn: CaptionedData) -> Question:
    scheme, test = drawn.scheme, drawn.test_unseen
    templates = scheme.templates + scheme.reworded
    return Question(
        images=test.images,
        truth=test.captions,
        readable=torch.ones(len(test), dtype=torch.bool),
        names=scheme.captions,
        templates=templates,
        texts=tuple(scheme.captions_by(template) for template in templates),
        shortened_templates=scheme.shortened,
        shortened=tuple(scheme.captions_by(template) for template in scheme.shortened),
        train=drawn.train.images,
        by_captions=True,
    )


def _by_names(data: ImageData) -> Question:
    if data.test.labels is None:
        raise DataError(f"{data.name}: no classes to recognise by name")
    if data.unnamed:
        raise DataError(data.unnamed)
    templates = templates_of(data)
    everything = torch.ones(len(data.test), dtype=torch.bool)
    return Question(
        images=data.test.images,
        truth=data.test.labels,
        readable=data.readable if isinstance(data, PromptedImageData) else everything,
        names=data.classes,
        templates=templates,
        texts=prompts_of(data.classes, templates),
        shortened_templates=(),
        shortened=(),
        train=data.train.images,
    )


@dataclass(frozen=True, eq=False)
class EmbeddedPrompts:
    """Images `[N, D]` and texts `[templates, K, D]` of a question as unit vectors in the model's space."""

    asked: Question
    image: Tensor
    texts: Tensor
    shortened: Tensor

    @property
    def truth(self) -> Tensor:
        """The class of each image, −1 for one that could not be read."""
        return self.asked.truth.where(self.asked.readable, -1)

    @property
    def text(self) -> Tensor:
        """The ensemble over templates, `[K, D]`."""
        return ensemble(self.texts)

    @property
    def scores(self) -> Tensor:
        """Cosine of every image with every class's ensemble, `[N, K]`."""
        return self.cosines(self.image, self.text)

    @property
    def first_of_name(self) -> Tensor:
        """The first class of the same name for each class, int64 `[K]`."""
        first: dict[str, int] = {}
        return torch.tensor([first.setdefault(name, index) for index, name in enumerate(self.asked.names)])

    def cosines(self, image: Tensor, text: Tensor) -> Tensor:
        """Compute cosines `[N, K]` of unit vectors, equal to the last bit for classes of one name."""
        return (image @ text.T)[:, self.first_of_name]


@torch.inference_mode()
def embed(subject: Subject, model: ImageTextModel, asked: Question) -> EmbeddedPrompts:
    """Encode every image once, and every different text once."""
    rows = asked.texts + asked.shortened
    different = list(dict.fromkeys(text for row in rows for text in row))
    position = {text: index for index, text in enumerate(different)}
    vectors = text_vectors(model, different, subject.context.device)
    found = [vectors[[position[text] for text in row]] for row in rows]
    count = len(asked.texts)
    shortened = torch.stack(found[count:]) if asked.shortened else vectors[:0]
    texts = torch.stack(found[:count])
    if asked.by_captions:
        return EmbeddedPrompts(asked, subject.vectors(asked.images), texts, shortened)
    image = subject.once(own_vectors)
    return EmbeddedPrompts(replace(asked, readable=image.readable), image.vectors, texts, shortened)


def fitted_vectors(subject: Subject, embedded: EmbeddedPrompts, count: int) -> Tensor:
    """Return vectors to which axes or codes are fitted: of `count` train images if there are any.

    They are those of the test images where the model encodes these from their files: pixels of train images,
    scaled for other models, would give it other vectors.
    """
    asked = embedded.asked
    if asked.train is asked.images or from_originals(subject):
        return embedded.image
    return subject.vectors(asked.train[:count])


def template_hits(embedded: EmbeddedPrompts) -> list[Tensor]:
    """Find the images that each single template recognises, bool `[N]` per template."""
    return [hits_at(embedded.cosines(embedded.image, text), embedded.truth, 1) for text in embedded.texts]


def shortened_hits(embedded: EmbeddedPrompts) -> list[Tensor]:
    """Return for each shortened template the probability that each image is classified correctly, `[N]`."""
    found = []
    for texts, vectors in zip(embedded.asked.shortened, embedded.shortened, strict=True):
        different = list(dict.fromkeys(texts))
        group = torch.tensor([different.index(text) for text in texts])
        scores = embedded.image @ vectors[[texts.index(text) for text in different]].T
        found.append(tied_accuracy(scores, embedded.asked.truth, group))
    return found


def class_probabilities(embedded: EmbeddedPrompts, model: ImageTextModel) -> Tensor | None:
    """Return the probability of each class for the readable images; None without a temperature."""
    scale = getattr(model, "scale", None)
    if scale is None:
        return None
    readable = embedded.scores[embedded.asked.readable]
    return (readable.double() * torch.as_tensor(scale).detach().cpu()).softmax(1)

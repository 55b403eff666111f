"""Transfer: captions learned on the digits of one source, tested on the digits of another.

scikit-learn's 1,797 digits (8x8, other writers, another scanner) are enlarged to 20 pixels and put in the
middle of 28, as MNIST's were. A digit's text is the mean of its captions in all strokes and slants. For
comparison: the judges, CNNs trained on the source's digits by supervision, which never saw these either.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from latentbench.analysis.core.data_context import to_float
from latentbench.analysis.core.ensemble import over_judges
from latentbench.analysis.core.metric import (
    Metric,
    Unmeasurable,
    define_accuracy,
    finite,
)
from latentbench.analysis.core.registry import Measurement, analysis
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.zero_shot.lit import captions_of, locked_image
from latentbench.analysis.zero_shot.zero_shot_metrics import ensemble
from latentbench.data.captioned.draw import CaptionedData
from latentbench.data.captioned.schemes import DIGIT_CAPTIONS
from latentbench.data.images import Split
from latentbench.data.sources.named_sets.digits import digits
from latentbench.models.protocols import ImageTextModel

BOX = 20
"""The side of the box for MNIST's digits, in an image of 28 pixels."""

_OF = "of scikit-learn's digits"


LOCKED = define_accuracy(
    "transfer_top1",
    heading="transfer",
    title=f"Share {_OF} recognised by towers on frozen codes, trained on the source.",
)
NATIVE = define_accuracy(
    "native_transfer_top1",
    heading="native transfer",
    title=f"Share {_OF} recognised by the model's own text encoder.",
)
RIVAL = define_accuracy(
    "transfer_rival",
    heading="transfer CNN",
    title=f"Share {_OF} recognised by the judges, CNNs trained on the source by supervision.",
    version=2,
)


@analysis("transfer", [LOCKED, NATIVE, RIVAL], opt_in=True, needs_judge=True)
def transfer(subject: Subject) -> Measurement:
    """Measure digits of another source by the same prompts; null if the data's captions name no digits."""
    drawn = captions_of(subject)
    if drawn.scheme is not DIGIT_CAPTIONS:
        raise Unmeasurable(f"{drawn.scheme.name} name no digits")
    images, labels = target_digits()
    codes = finite(subject.vectors(images))
    finite(subject.test_codes.mean)
    return Measurement(
        (
            _locked(subject, drawn, codes, labels),
            _native(subject, drawn, codes, labels),
            _rival(subject, images, labels),
        )
    )


def target_digits() -> tuple[Tensor, Tensor]:
    """Return all of scikit-learn's digits at MNIST's size, uint8 `[1797, 1, 28, 28]`, and their labels."""
    data = digits()
    parts: tuple[Split, ...] = data.train, data.test
    small = torch.cat([part.images for part in parts]).float()
    large = F.interpolate(small, (BOX, BOX), mode="bilinear", antialias=True, align_corners=False)
    margin = (28 - BOX) // 2
    images = F.pad(large, (margin,) * 4).round().to(torch.uint8)
    return images, torch.cat([part.labels for part in parts if part.labels is not None])


def _locked(subject: Subject, drawn: CaptionedData, codes: Tensor, labels: Tensor) -> Metric:
    """Classify by the sum of the probabilities of each digit's nine captions."""
    probabilities = subject.once(locked_image).scores(codes).softmax(1)
    of_digit = F.one_hot(drawn.factors[:, 0]).float()
    return LOCKED.share((probabilities @ of_digit).argmax(1) == labels)


@torch.inference_mode()
def _native(subject: Subject, drawn: CaptionedData, codes: Tensor, labels: Tensor) -> Metric:
    if not isinstance(subject.model, ImageTextModel):
        return NATIVE.missing("no text encoder")
    text = subject.model.encode_text(list(drawn.captions)).float().cpu()
    # Captions are in order of their digit, nine of each.
    by_digit = text.view(10, -1, text.shape[1]).transpose(0, 1)
    return NATIVE.share((codes @ ensemble(by_digit).T).argmax(1) == labels)


def _rival(subject: Subject, images: Tensor, labels: Tensor) -> Metric:
    if reason := subject.context.no_judge:
        return RIVAL.missing(reason)
    views = subject.context.view(to_float(images))
    return over_judges([RIVAL.share(view.predictions == labels) for view in views])

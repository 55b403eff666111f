"""Zero-shot: what words can say of a frozen encoder's codes, in combinations that were never trained on.

Locked-image tuning (Zhai et al. 2022, arXiv:2111.07991), small: the image encoder stays frozen and its
codes are computed once; only an image projection and a text tower are trained, on the 63 seen captions
of captioned digits. They are tested on images of 18 unseen captions, whose words are known and whose
combinations are not. So one number is had for every encoder, whether or not it ever met a word.

Sixty-three distinct captions describe all train images, so a step embeds each caption once and asks
of every image which of the 63 is its own. In-batch negatives, as CLIP has them, would count an image's
own caption against it whenever two images share it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentbench.analysis.intervals import binomial_se, standard_error
from latentbench.analysis.measurement import Measurement, analysis
from latentbench.analysis.metric import Metric, MetricDefinition, define
from latentbench.analysis.probe import standardise
from latentbench.analysis.subject import Subject
from latentbench.data.captions import CaptionedDigits, captioned_digits
from latentbench.data.errors import DataError
from latentbench.models.protocols import ImageTextModel
from latentbench.models.seeds import derive, generator
from latentbench.models.tokenizer import Tokenizer

WIDTH = 64
HIDDEN = 256
STEPS = 600
BATCH = 256
LEARNING_RATE = 4e-3
WEIGHT_DECAY = 0.01
# Chosen on the tuning images and their nine validation captions; the unseen captions took no part.


class Towers(nn.Module):
    """An image projection and a text tower into one space, compared by cosine at a learned temperature.

    A caption's vector is the sum of its words' vectors: what was learned of a word in one combination
    holds in every other.
    """

    def __init__(self, code_dimensions: int, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.words = nn.Embedding(tokenizer.size, WIDTH)
        nn.init.normal_(self.words.weight, std=0.1)
        self.image = nn.Sequential(
            nn.Linear(code_dimensions, HIDDEN),
            nn.GELU(),
            nn.Linear(HIDDEN, HIDDEN),
            nn.GELU(),
            nn.Linear(HIDDEN, WIDTH),
        )
        self.log_scale = nn.Parameter(torch.tensor(math.log(10)))

    def text(self, ids: Tensor) -> Tensor:
        """Token ids `[M, context]` to unit vectors `[M, 64]`."""
        is_word = (ids > 1) & (ids < self.tokenizer.end)
        return F.normalize((self.words(ids) * is_word.unsqueeze(2)).sum(1), dim=1)

    def forward(self, codes: Tensor, ids: Tensor) -> Tensor:
        """Standardised codes `[N, D]` against captions `[M, context]`: logits `[N, M]`."""
        image = F.normalize(self.image(codes), dim=1)
        return image @ self.text(ids).T * self.log_scale.exp()


def fit_towers(
    codes: Tensor, captions: Tensor, tokenizer: Tokenizer, texts: tuple[str, ...], *, seed: int
) -> Towers:
    """Train towers on standardised codes `[N, D]` whose captions are `texts[captions]`, captions int64 `[N]`.

    Only captions that occur are ever embedded: a text that describes no image is not trained on. Runs on
    the CPU, a second or two; the same input and seed give the same towers.
    """
    occurring, targets = captions.unique(return_inverse=True)
    ids = tokenizer.encode([texts[i] for i in occurring.tolist()])
    order = generator(seed, "zero-shot order")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "zero-shot towers"))
        towers = Towers(codes.shape[1], tokenizer)
        optimiser = torch.optim.AdamW(
            towers.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=STEPS)
        for _ in range(STEPS):
            rows = torch.randint(len(codes), (BATCH,), generator=order)
            loss = F.cross_entropy(towers(codes[rows], ids), targets[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return towers.eval().requires_grad_(False)


@dataclass(frozen=True, eq=False)
class CaptionScores:
    """How well each of the M captions fits each image, higher is better, and which is right.

    `seen` and `unseen` are float `[N, M]` over the images of seen and of unseen captions, `*_truth` int64
    `[N]`; `held_out` bool `[M]` marks the captions that were not trained on.
    """

    seen: Tensor
    seen_truth: Tensor
    unseen: Tensor
    unseen_truth: Tensor
    held_out: Tensor


def locked_image_scores(subject: Subject, captioned: CaptionedDigits) -> CaptionScores:
    """Train towers on the subject's frozen codes of the train images, and score the test images."""
    held_out = torch.zeros(len(captioned.captions), dtype=torch.bool)
    held_out[[*captioned.validation, *captioned.unseen]] = True
    if held_out[captioned.train.captions].any():
        raise AssertionError("a held-out caption is among the train captions")
    train = subject.encode(captioned.train.images).mean
    codes, seen = standardise(train, subject.encode(captioned.test_seen.images).mean)
    _, unseen = standardise(train, subject.encode(captioned.test_unseen.images).mean)
    tokenizer = Tokenizer(captioned.vocabulary)
    towers = fit_towers(codes, captioned.train.captions, tokenizer, captioned.captions, seed=subject.seed)
    ids = tokenizer.encode(captioned.captions)
    return CaptionScores(
        towers(seen, ids),
        captioned.test_seen.captions,
        towers(unseen, ids),
        captioned.test_unseen.captions,
        held_out,
    )


def harmonic_mean(first: float, second: float) -> float:
    """2ab / (a + b) of two accuracies, 0 where both are 0: high only where both are."""
    return 2 * first * second / (first + second) if first + second > 0 else 0.0


def seen_unseen_auc(scores: CaptionScores) -> tuple[float, float | None]:
    """Area under the curve of seen against unseen accuracy as a bias for held-out captions is swept.

    Chao et al. 2016 (arXiv:1605.04253): a bias b is added to every held-out caption's score. An unseen
    image is right for every b above its own threshold, a seen image for every b below its own, so the
    area is the share of (unseen, seen) pairs that some b gets both right. Range [0, 1]. Returns the area
    and its standard error over images (DeLong et al. 1988).
    """
    needed = _bias_needed(scores.unseen, scores.unseen_truth, scores.held_out)
    borne = -_bias_needed(scores.seen, scores.seen_truth, ~scores.held_out)
    both = (needed.unsqueeze(1) < borne).double()
    errors = standard_error(both.mean(1).numpy()), standard_error(both.mean(0).numpy())
    se = math.hypot(*errors) if None not in errors else None  # type: ignore[arg-type]
    return both.mean().item(), se


def _bias_needed(scores: Tensor, truth: Tensor, group: Tensor) -> Tensor:
    """The bias for its `group` of captions above which each image is right, `[N]`; ∞ where none helps.

    None helps where another caption of the same group outscores the right one.
    """
    own = scores.gather(1, truth.unsqueeze(1)).squeeze(1)
    best_in_group = scores[:, group].amax(1)
    needed = scores[:, ~group].amax(1) - own
    return torch.where(own >= best_in_group, needed, torch.inf)


def _accuracy_metric(name: str, heading: str, title: str, *, headline: bool = False) -> MetricDefinition:
    return define(
        MetricDefinition(
            name, unit="accuracy", better="higher", title=title, heading=heading, headline=headline
        )
    )


TOP1 = _accuracy_metric(
    "zero_shot_top1",
    "zero-shot",
    "Captions never trained on, recognised among all 90 by towers on frozen codes; chance 0.011.",
    headline=True,
)
UNSEEN_ONLY = _accuracy_metric(
    "zero_shot_unseen_only", "zs unseen", "As zero-shot, among the 18 unseen captions only; chance 0.056."
)
SEEN = _accuracy_metric("zero_shot_seen", "zs seen", "Test images of trained captions, among all 90.")
HARMONIC = _accuracy_metric(
    "zero_shot_harmonic", "zs harmonic", "Harmonic mean of zero-shot and seen accuracy."
)
AUC = define(
    MetricDefinition(
        "zero_shot_auc",
        unit="area",
        better="higher",
        title="Area under seen against unseen accuracy as a bias for held-out captions is swept.",
        heading="zs AUC",
    )
)
FACTORS = tuple(
    _accuracy_metric(
        f"zero_shot_{factor}",
        f"zs {factor}",
        f"Share of unseen images whose {factor} is named rightly; chance {chance}.",
    )
    for factor, chance in (("digit", "0.1"), ("stroke", "0.333"), ("slant", "0.333"))
)
NATIVE = _accuracy_metric(
    "native_zero_shot_top1", "native zs", "As zero-shot, by the model's own text encoder; chance 0.011."
)
LOCKED = (TOP1, UNSEEN_ONLY, SEEN, HARMONIC, AUC, *FACTORS)


@analysis("zero_shot", [*LOCKED, NATIVE])
def zero_shot(subject: Subject) -> Measurement:
    """Accuracy on captioned digits, of towers on frozen codes and of the model's own text encoder.

    Null where the data cannot be drawn as captioned digits.
    """
    try:
        captioned = captioned_digits(subject.data)
    except DataError as error:
        return Measurement(tuple(metric.missing(str(error)) for metric in (*LOCKED, NATIVE)))
    scores = locked_image_scores(subject, captioned)
    metrics = (*_locked_metrics(scores, captioned), _native_metric(subject, captioned))
    return Measurement(metrics, examples={TOP1.name: _unseen_hits(scores).numpy()})


def _unseen_hits(scores: CaptionScores) -> Tensor:
    """Which images of unseen captions are given their own, of all captions; bool `[N]`."""
    return scores.unseen.argmax(1) == scores.unseen_truth


def _locked_metrics(scores: CaptionScores, captioned: CaptionedDigits) -> list[Metric]:
    predicted, truth = scores.unseen.argmax(1), scores.unseen_truth
    top1 = _share(TOP1, _unseen_hits(scores))
    unseen = torch.tensor(captioned.unseen)
    unseen_only = _share(UNSEEN_ONLY, unseen[scores.unseen[:, unseen].argmax(1)] == truth)
    seen = _share(SEEN, scores.seen.argmax(1) == scores.seen_truth)
    area, area_se = seen_unseen_auc(scores)
    n = len(truth) + len(scores.seen_truth)
    right_factors = captioned.factors[predicted] == captioned.factors[truth]
    return [
        top1,
        unseen_only,
        seen,
        _harmonic_metric(top1, seen),
        AUC.measured(area, se=area_se, n=n),
        *(_share(metric, right) for metric, right in zip(FACTORS, right_factors.T, strict=True)),
    ]


def _native_metric(subject: Subject, captioned: CaptionedDigits) -> Metric:
    if not isinstance(subject.model, ImageTextModel):
        return NATIVE.missing("no text encoder")
    with torch.inference_mode():
        text = subject.model.encode_text(list(captioned.captions)).float().cpu()
    image = subject.encode(captioned.test_unseen.images).mean
    return _share(NATIVE, (image @ text.T).argmax(1) == captioned.test_unseen.captions)


def _share(metric: MetricDefinition, right: Tensor) -> Metric:
    hits, n = int(right.sum()), len(right)
    return metric.measured(hits / n, se=binomial_se(hits, n), n=n)


def _harmonic_metric(unseen: Metric, seen: Metric) -> Metric:
    """The harmonic mean, its error carried over from both accuracies to first order."""
    u, s = unseen.value or 0.0, seen.value or 0.0
    se = None
    if u + s > 0 and unseen.se is not None and seen.se is not None:
        se = 2 * math.hypot(s**2 * unseen.se, u**2 * seen.se) / (u + s) ** 2
    return HARMONIC.measured(harmonic_mean(u, s), se=se, n=(unseen.n or 0) + (seen.n or 0))

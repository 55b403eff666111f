"""Controls of the zero-shot accuracy: its value if nothing can be learned, and that of a rival.

Three controls are negative, with chance as the correct result: towers that were never trained; towers trained
on captions shuffled among the images; a class whose name was never learned. One rival is built for this
task: three supervised classifiers, one per factor, on the same codes, correct if all three are. It needs
no words, and knows the factors in advance.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentbench.analysis.core.metric import Metric, MetricDefinition, define, define_accuracy
from latentbench.analysis.core.registry import Measurement, analysis
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.latent.probes import standardise
from latentbench.analysis.statistics.fitting import fit
from latentbench.analysis.statistics.intervals import clustered_se, standard_error
from latentbench.analysis.zero_shot.compositional import VERSION
from latentbench.analysis.zero_shot.lit import (
    BATCH,
    HIDDEN,
    LEARNING_RATE,
    STEPS,
    WEIGHT_DECAY,
    Towers,
    captions_of,
    fit_towers,
)
from latentbench.data.captioned.draw import CaptionedData
from latentbench.models.networks.tokenizer import Tokenizer
from latentbench.models.seeds import derive, generator

UNTRAINED, SHUFFLES = 20, 4
"""Number of untrained towers, and of towers trained on shuffled captions."""


FACTOR_CLASSIFIERS = define(
    "zero_shot_rival",
    version=VERSION,
    unit="accuracy",
    better="higher",
    title="Accuracy on unseen captions of three classifiers on the same codes, one per factor; no words.",
    heading="zs rival",
)
CONTROL_UNTRAINED = define_accuracy(
    "zero_shot_untrained",
    heading="zs untrained",
    title=f"Accuracy on unseen captions of untrained towers, mean of {UNTRAINED}; should be chance, 0.011.",
    better="neither",
)
CONTROL_SHUFFLED = define_accuracy(
    "zero_shot_shuffled",
    version=VERSION,
    heading="zs shuffled",
    title=(
        f"Accuracy on unseen captions after shuffling the others, mean of {SHUFFLES}; should be "
        "chance, 0.011."
    ),
    better="neither",
)
CONTROL_NEW_NAME = define_accuracy(
    "zero_shot_new_name",
    version=VERSION,
    heading="zs new name",
    title=(
        "Accuracy on a class whose name was not trained on, among all 90; should be chance, 0.011, or lower."
    ),
    better="neither",
)


@analysis(
    "controls",
    [FACTOR_CLASSIFIERS, CONTROL_UNTRAINED, CONTROL_SHUFFLED, CONTROL_NEW_NAME],
    opt_in=True,
)
def controls(subject: Subject) -> Measurement:
    """Measure four controls on the codes of the zero-shot analysis. Null if the data have no captions."""
    drawn = captions_of(subject)
    raw = subject.vectors(drawn.train.images)
    train, test = standardise(raw, subject.vectors(drawn.test_unseen.images))
    _, seen = standardise(raw, subject.vectors(drawn.test_seen.images))
    return Measurement(
        (
            _factor_classifiers(train, test, drawn, subject.seed),
            _untrained(test, drawn, subject.seed),
            _shuffled(train, test, drawn, subject.seed),
            _new_name(train, torch.cat([seen, test]), drawn, subject.seed),
        )
    )


def fit_classifier(codes: Tensor, labels: Tensor, *, seed: int) -> nn.Module:
    """Train a supervised classifier of codes `[N, D]` into `labels` int64 `[N]`.

    The size, steps and rate of the towers' image projection; the same input and seed give the same weights.
    """
    order = generator(seed, "classifier order")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "classifier"))
        network = nn.Sequential(
            nn.Linear(codes.shape[1], HIDDEN),
            nn.GELU(),
            nn.Linear(HIDDEN, HIDDEN),
            nn.GELU(),
            nn.Linear(HIDDEN, int(labels.max()) + 1),
        )

    def loss() -> Tensor:
        rows = torch.randint(len(codes), (BATCH,), generator=order)
        return F.cross_entropy(network(codes[rows]), labels[rows])

    fit(loss, network.parameters(), steps=STEPS, learning_rate=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    return network.eval().requires_grad_(False)


def _factor_classifiers(train: Tensor, test: Tensor, drawn: CaptionedData, seed: int) -> Metric:
    known, truth = drawn.factors[drawn.train.captions], drawn.factors[drawn.test_unseen.captions]
    right = torch.ones(len(test), dtype=torch.bool)
    for place, factor in enumerate(drawn.scheme.factors):
        classifier = fit_classifier(train, known[:, place], seed=derive(seed, factor.name))
        right &= classifier(test).argmax(1) == truth[:, place]
    return FACTOR_CLASSIFIERS.share(right, drawn.test_unseen.captions)


def _untrained(test: Tensor, drawn: CaptionedData, seed: int) -> Metric:
    """Average over towers; the words of each are drawn alike, so on average all 90 captions are equal."""
    tokenizer = Tokenizer(drawn.vocabulary)
    ids = tokenizer.encode(drawn.captions)
    accuracies = []
    for time in range(UNTRAINED):
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(derive(seed, "untrained towers", str(time)))
            predicted = Towers(test.shape[1], tokenizer)(test, ids).argmax(1)
        accuracies.append((predicted == drawn.test_unseen.captions).double().mean().item())
    mean = sum(accuracies) / UNTRAINED
    return CONTROL_UNTRAINED.measured(mean, se=standard_error(accuracies), n=UNTRAINED)


def _shuffled(train: Tensor, test: Tensor, drawn: CaptionedData, seed: int) -> Metric:
    """Average over shuffles; a caption is another cluster in each of them."""
    truth, tokenizer = drawn.test_unseen.captions, Tokenizer(drawn.vocabulary)
    ids = tokenizer.encode(drawn.captions)
    hits = []
    for time in range(SHUFFLES):
        own = derive(seed, "shuffled captions", str(time))
        order = torch.randperm(len(train), generator=generator(own, "shuffle"))
        towers = fit_towers(train, drawn.train.captions[order], tokenizer, drawn.captions, seed=own)
        hits.append(towers(test, ids).argmax(1) == truth)
    clusters = torch.cat([truth + time * len(drawn.captions) for time in range(SHUFFLES)])
    return _of_own_draw(CONTROL_SHUFFLED, torch.cat(hits), clusters)


def _new_name(train: Tensor, test: Tensor, drawn: CaptionedData, seed: int) -> Metric:
    """Train without the captions that name one class, and test on all test images of that class.

    Trained words get higher scores than an untrained one, so the accuracy may well be below chance.
    """
    held_out = derive(seed, "held-out name") % len(drawn.scheme.factors[0].words)
    named = drawn.factors[:, 0]
    known = named[drawn.train.captions] != held_out
    truth = torch.cat([drawn.test_seen.captions, drawn.test_unseen.captions])
    asked = named[truth] == held_out
    if not asked.any() or not known.any():
        return CONTROL_NEW_NAME.missing("too few images: none of the held-out class, or no others", n=0)
    tokenizer = Tokenizer(drawn.vocabulary)
    towers = fit_towers(
        train[known], drawn.train.captions[known], tokenizer, drawn.captions, seed=derive(seed, "new name")
    )
    predicted = towers(test[asked], tokenizer.encode(drawn.captions)).argmax(1)
    return _of_own_draw(CONTROL_NEW_NAME, predicted == truth[asked], truth[asked])


def _of_own_draw(metric: MetricDefinition, hits: Tensor, clusters: Tensor) -> Metric:
    """Return a share with the error of its clusters, which other seeds do not share."""
    return metric.measured(hits.double().mean().item(), se=clustered_se(hits, clusters), n=len(hits))

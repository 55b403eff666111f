"""Probes: the class of an image, predicted from its code by a linear classifier and by neighbours.

Codes are posterior means, standardised by the train codes, so that neither probe depends on the scale
of a dimension. Both are fitted on the first 10,000 train codes and tested on all test codes.

A code that is a grid or tokens is summarised as a vector in two ways: by the mean over its positions, and by
the principal components of the whole code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from latentbench.analysis.core.metric import MetricDefinition, Unmeasurable, define, finite
from latentbench.analysis.core.registry import Measurement, analysis
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.statistics.neighbours import nearest
from latentbench.models.codes import pooled

FITTED = 10_000
NEIGHBOURS = 20
PENALTY = 1.0
STEPS = 100
COMPONENTS = 256
"""Principal components of a code that is a grid or tokens."""
PROJECTED = 1000
"""Codes that are projected at once: their differences from the mean are a copy."""


def standardise(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Shift and scale both `[N, D]` by the mean and standard deviation of `train`, per dimension.

    A dimension that is constant on `train` becomes 0 everywhere, so it has no effect. Raises
    Unmeasurable for values that are not finite, from which a classifier would still compute a number.
    """
    mean, spread = finite(train).mean(0), train.std(0, correction=0)
    # Rounding gives a constant column of large values a spread of about eps times its size.
    varies = spread > 1e-6 * mean.abs()
    scale = torch.where(varies, 1 / torch.where(varies, spread, 1.0), 0.0)
    return (train - mean).mul_(scale), (finite(test) - mean).mul_(scale)


@dataclass(frozen=True)
class LinearProbe:
    """A multinomial logistic regression: `logits = codes @ weight + bias`."""

    weight: Tensor
    bias: Tensor

    def predict(self, codes: Tensor) -> Tensor:
        """Return the likeliest class of codes `[N, D]`, int64 `[N]`."""
        return (codes.to(self.weight) @ self.weight + self.bias).argmax(1)


def fit_linear_probe(codes: Tensor, labels: Tensor, classes: int, *, penalty: float = PENALTY) -> LinearProbe:
    """Fit standardised codes `[N, D]` to labels int64 `[N]` in 0 … classes − 1.

    Minimises summed cross-entropy + penalty · ‖weight‖² / 2, the bias free: scikit-learn's
    LogisticRegression with C = 1 / penalty. The problem is convex, so full-batch L-BFGS from zero is
    deterministic and finds the one optimum.
    """
    count, dimensions = codes.shape
    codes = torch.cat([codes.float(), torch.ones(count, 1)], dim=1)
    parameters = torch.zeros(dimensions + 1, classes, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [parameters],
        max_iter=STEPS,
        tolerance_grad=1e-5,
        tolerance_change=1e-7,
        line_search_fn="strong_wolfe",
        history_size=20,
    )

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = F.cross_entropy(codes @ parameters, labels)
        value = value + penalty / (2 * count) * parameters[:-1].square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    return LinearProbe(parameters[:-1].detach(), parameters[-1].detach())


def knn_predict(train: Tensor, labels: Tensor, test: Tensor, classes: int, *, k: int = NEIGHBOURS) -> Tensor:
    """Return the commonest label among the k nearest `train` codes of each of `test` `[M, D]`, int64 `[M]`.

    Among equally common labels the lowest wins, as in scikit-learn's KNeighborsClassifier.
    """
    _, indices = nearest(test, train, min(k, len(train)))
    return F.one_hot(labels[indices], classes).sum(1).argmax(1)


PROBE_LINEAR = define(
    "probe_linear",
    unit="accuracy",
    better="higher",
    title="Accuracy on test codes of a linear classifier fitted to 10,000 train codes.",
    heading="probe",
    headline=True,
)
PROBE_KNN = define(
    "probe_knn",
    unit="accuracy",
    better="higher",
    title="Accuracy on test codes of a vote of the 20 nearest of 10,000 train codes.",
    heading="k-NN",
)


POOLED = "the mean over positions of each code that is a grid or tokens"
WITH_COMPONENTS = f"{COMPONENTS} principal components of each code that is a grid or tokens"
PROBE_LINEAR_POOLED = define(
    "probe_linear_pooled",
    unit="accuracy",
    better="higher",
    title=f"Accuracy on test images of a linear classifier of {POOLED}.",
    heading="probe pooled",
)
PROBE_KNN_POOLED = define(
    "probe_knn_pooled",
    unit="accuracy",
    better="higher",
    title=f"Accuracy on test images of a vote of the 20 nearest train images, by {POOLED}.",
    heading="k-NN pooled",
)
PROBE_LINEAR_PCA = define(
    "probe_linear_pca256",
    unit="accuracy",
    better="higher",
    title=f"Accuracy on test images of a linear classifier of {WITH_COMPONENTS}.",
    heading="probe PCA-256",
)
PROBE_KNN_PCA = define(
    "probe_knn_pca256",
    unit="accuracy",
    better="higher",
    title=f"Accuracy on test images of a vote of the 20 nearest train images, by {WITH_COMPONENTS}.",
    heading="k-NN PCA-256",
)


Vectors = Callable[[Tensor], Tensor]
"""A function from codes `[N, *shape]` to vectors `[N, D]`."""


@dataclass(frozen=True)
class Summary:
    """A way to make vectors of codes, fitted to train codes, and the two probes of these."""

    fit: Callable[[Tensor], Vectors]
    linear: MetricDefinition
    knn: MetricDefinition


def components(train: Tensor, count: int = COMPONENTS) -> Vectors:
    """Fit the first `count` principal components of whole codes `[N, *shape]`, or all if there are fewer.

    They are fitted to `train` by a randomised decomposition with a fixed seed. Fitting and projecting raise
    Unmeasurable for values that are not finite.
    """
    flat = finite(train).flatten(1)
    mean = flat.mean(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        _, _, axes = torch.pca_lowrank(flat, min(count, *flat.shape), center=True, niter=4)

    def project(codes: Tensor) -> Tensor:
        parts = finite(codes).flatten(1).split(PROJECTED)
        return torch.cat([(part - mean) @ axes for part in parts])

    return project


WHOLE = Summary(lambda _: lambda codes: codes, PROBE_LINEAR, PROBE_KNN)
OF_GRIDS = (
    Summary(lambda _: pooled, PROBE_LINEAR_POOLED, PROBE_KNN_POOLED),
    Summary(components, PROBE_LINEAR_PCA, PROBE_KNN_PCA),
)
SUMMARIES = (WHOLE, *OF_GRIDS)
IS_GRID, IS_VECTOR = "the code is no vector", "the code is a vector"


@analysis("probe", [metric for summary in SUMMARIES for metric in (summary.linear, summary.knn)])
def probe(subject: Subject) -> Measurement:
    """Measure the accuracy of both probes on the test codes; null if the data have no labels, or only one."""
    train, test, classes = subject.data.train, subject.data.test, len(subject.data.classes)
    if train.labels is None or test.labels is None:
        raise Unmeasurable("the data has no labels")
    labels = train.labels[:FITTED]
    if len(labels.unique()) < 2:
        raise Unmeasurable("all train images have the same class")
    codes = subject.train_codes.mean[:FITTED]
    labels, test_codes = labels[: len(codes)], subject.test_codes.mean
    truth = test.labels[: len(test_codes)]
    metrics, examples = [], {}
    for summary in SUMMARIES:
        if (summary is WHOLE) != (codes.ndim == 2):
            reason = IS_GRID if summary is WHOLE else IS_VECTOR
            metrics += [summary.linear.missing(reason), summary.knn.missing(reason)]
            continue
        vectors = summary.fit(codes)
        fitted, asked = standardise(vectors(codes), vectors(test_codes))
        linear = fit_linear_probe(fitted, labels, classes).predict(asked)
        neighbours = knn_predict(fitted, labels, asked, classes)
        for definition, predicted in ((summary.linear, linear), (summary.knn, neighbours)):
            right = predicted == truth
            metrics.append(definition.share(right))
            examples[definition.name] = right.numpy()
    return Measurement(tuple(metrics), examples=examples)

"""Generation at equal cost: the same flow in every model's codes, with equal operations.

The pixels themselves are codes too (family `identity`), so this compares generation in pixels with
generation in codes. The flow is a residual MLP on the values of the code: the networks differ in their first
and last layers only. Each budget of training has a budget of sampling for one image, decoder included. A code
of fewer values leaves operations for more steps of both. The training of the compressor is not counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from operator import add

import torch
from torch import Tensor

from latentbench.analysis.core.ensemble import over_judges
from latentbench.analysis.core.metric import Metric, MetricDefinition, Unmeasurable, define, finite
from latentbench.analysis.core.registry import Measurement, analysis
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.fidelity.generative_metrics import frechet_between
from latentbench.analysis.flow.recipe import FlowRecipe
from latentbench.analysis.flow.stored_flows import flow_of
from latentbench.analysis.generation.code_samplers import flow_codes
from latentbench.analysis.generation.flow_quality import sampling_flops, training_flops
from latentbench.analysis.generation.label_free_frechet import SPACES, distances_of
from latentbench.analysis.generation.sample_bank import Samples
from latentbench.analysis.generation.sample_quality import BLOCKS, FEWEST, measurable_images
from latentbench.analysis.statistics.intervals import jackknife_error
from latentbench.analysis.statistics.moments import Moments
from latentbench.analysis.stored.equal_flops import BUDGETS, metric_at
from latentbench.analysis.workloads.flops import count
from latentbench.models.protocols import Autoencoder, Posterior
from latentbench.models.seeds import derive
from latentbench.models.training.history import Diverged

GFLOP = 10**9
IMAGES = 20_000
"""One image may cost this fraction of the training: 5, 20, 80 and 320 MFLOP."""
MOST_STEPS = 32
"""More steps of Heun's method change nothing."""
MLP = FlowRecipe(network="mlp")


def _define(budget: int, space: str | None, features: str) -> MetricDefinition:
    return define(
        metric_at(budget, space),
        better="lower",
        title=f"Fréchet distance of samples of a flow trained with {budget} GFLOP to the test images, "
        f"in {features}.",
        heading=f"Fréchet {budget} GFLOP" + (f" {space}" if space else ""),
        decimals=1,
    )


JUDGED = {budget: _define(budget, None, "the judges' features") for budget in BUDGETS}
LABEL_FREE = {
    budget: {space.name: _define(budget, space.name, space.title) for space in SPACES} for budget in BUDGETS
}


@dataclass(frozen=True)
class Budget:
    """The steps of training and of sampling that one budget pays for with one code."""

    recipe: FlowRecipe

    @classmethod
    def of(cls, shape: tuple[int, ...], gflop: int, decoder: int) -> Budget:
        """Spend a budget in GFLOP; `decoder` is the operations of decoding one code.

        Raises Unmeasurable if it is too small for one step of training or of sampling.
        """
        one = MLP.model_copy(update={"steps": 1, "sampling_steps": 1})
        steps = gflop * GFLOP // training_flops(shape, one)
        left = gflop * GFLOP // IMAGES - decoder
        sampling_steps = left // sampling_flops(shape, one)
        if steps < 1 or sampling_steps < 1:
            raise Unmeasurable(f"{gflop} GFLOP are too few for one step of a flow of this code")
        chosen = {"steps": steps, "sampling_steps": min(sampling_steps, MOST_STEPS)}
        return cls(MLP.model_copy(update=chosen))


@analysis(
    "equal_flops",
    [*JUDGED.values(), *(metric for metrics in LABEL_FREE.values() for metric in metrics.values())],
    opt_in=True,
    needs_judge=True,
)
def equal_flops(subject: Subject) -> Measurement:
    """Train a flow on the codes with each budget, and compare decoded samples with the test images."""
    codes, decoder = flow_codes(subject), decoding_flops(subject)
    if len(subject.data.test) < FEWEST:
        raise Unmeasurable(f"fewer than {FEWEST} test images")
    judged: list[Metric] = []
    label_free: list[Metric] = []
    arrays = {}
    for gflop in BUDGETS:
        every = [JUDGED[gflop], *LABEL_FREE[gflop].values()]
        try:
            budget = Budget.of(subject.code_shape, gflop, decoder)
            drawn = _drawn(subject, codes, budget)
            seen = Samples.of(_decoded(subject, drawn), subject.context)
            found = [_judged(subject, gflop, seen), *_label_free(subject, gflop, drawn)]
            arrays[f"samples_{gflop}"] = seen.kept.numpy()
        except Unmeasurable as reason:
            found = [metric.missing(str(reason)) for metric in every]
        except Diverged as diverged:
            found = [metric.missing(f"the flow diverged: {diverged}") for metric in every]
        judged.append(found[0])
        label_free += found[1:]
    return Measurement((*judged, *label_free), arrays)


def decoding_flops(subject: Subject) -> int:
    """Count the operations of decoding one code. Raises Unmeasurable for a model without a decoder."""
    model = subject.model
    if not isinstance(model, Autoencoder):
        raise Unmeasurable("no decoder")
    code = torch.zeros(1, *subject.code_shape, device=subject.context.device)
    return count(lambda: model.decode(code)).flops


def _drawn(subject: Subject, codes: Posterior, budget: Budget) -> Tensor:
    seed = derive(subject.seed, "equal flops")
    trained = flow_of(codes, budget.recipe, seed=seed, device=subject.context.device)
    noise = torch.randn(
        len(subject.data.test), *subject.code_shape, generator=subject.generator("sample equal flops")
    )
    return trained.flow.sample(noise)


def _decoded(subject: Subject, codes: Tensor) -> Iterator[Tensor]:
    for images in subject.decoded(codes):
        yield finite(images, "samples hold values that are not finite")


def _judged(subject: Subject, gflop: int, seen: Samples) -> Metric:
    try:
        reals = measurable_images(subject)
    except Unmeasurable as reason:
        return JUDGED[gflop].missing(str(reason))
    by_judge = []
    for real, view in zip(reals, seen.judged, strict=True):
        blocks = [Moments.of(block) for block in view.features.tensor_split(BLOCKS)]

        def distance(part: Moments, test: Moments = real.test_moments) -> float:
            return frechet_between(test, part)

        error = jackknife_error(blocks, distance)
        by_judge.append(JUDGED[gflop].measured(distance(reduce(add, blocks)), se=error, n=seen.count))
    return over_judges(by_judge)


def _label_free(subject: Subject, gflop: int, codes: Tensor) -> list[Metric]:
    return distances_of(subject, lambda: _decoded(subject, codes), LABEL_FREE[gflop])

"""The quality of samples of a learned flow: what generation adds to the cost of reconstruction.

The flow is a small rectified flow, trained on the codes with a fixed budget. It answers how well a learned
generator does in a model's codes; the sampler `moment` and the dead zones answer what a Gaussian meets.
"""

from __future__ import annotations

import torch
from torch import Tensor

from latentbench.analysis.core.ensemble import over_judges
from latentbench.analysis.core.metric import Metric, Unmeasurable, define
from latentbench.analysis.core.registry import Measurement, analysis
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.flow.recipe import FlowRecipe
from latentbench.analysis.flow.train_flow import TrainedFlow, untrained
from latentbench.analysis.generation import label_free_frechet
from latentbench.analysis.generation.code_samplers import learned_flow
from latentbench.analysis.generation.sample_metrics import POSTERIOR, definitions_of
from latentbench.analysis.generation.sample_quality import (
    kept_samples,
    measurable_images,
    measured_by_judges,
)
from latentbench.analysis.stored.samplers import FLOW
from latentbench.analysis.workloads.flops import count
from latentbench.models.codes import Shape
from latentbench.models.training.engine import TrainingStep

FLOW_GAP = define(
    "flow_gap",
    better="lower",
    title="Fréchet distance of samples of a learned flow of the codes minus that of posterior samples: what "
    "generation adds to the cost of reconstruction.",
    heading="flow gap",
    headline=True,
    decimals=1,
)
FLOW_LOSS = define(
    "flow_loss",
    title="Loss of the learned flow over its last steps: mean squared error of the velocity of standardised "
    "codes.",
    heading="flow loss",
)
TRAINING_FLOPS = define(
    "flow_training_flops",
    unit="FLOP",
    title="Floating-point operations of training the learned flow: the fixed budget.",
    heading="flow training",
)
SAMPLING_FLOPS = define(
    "flow_sampling_flops",
    unit="FLOP",
    title="Floating-point operations of drawing one code from the learned flow, without decoding it.",
    heading="flow sampling",
)


@analysis(
    FLOW,
    [
        *definitions_of(FLOW),
        FLOW_GAP,
        *label_free_frechet.definitions_of(FLOW),
        FLOW_LOSS,
        TRAINING_FLOPS,
        SAMPLING_FLOPS,
    ],
    opt_in=True,
    needs_judge=True,
)
def flow_quality(subject: Subject) -> Measurement:
    """Train a flow on the codes of the train images, and compare its decoded samples with the test images.

    Images without a judge have the label-free distances only.
    """
    trained = learned_flow(subject)
    metrics = [
        *_judged(subject),
        *_label_free(subject),
        FLOW_LOSS.measured(trained.loss, n=len(trained.losses)),
        *budget(subject.code_shape, trained),
    ]
    arrays = {**kept_samples(subject, [FLOW]), "loss": trained.losses.numpy()}
    return Measurement(tuple(metrics), arrays)


def _judged(subject: Subject) -> list[Metric]:
    try:
        measurable_images(subject)
    except Unmeasurable as reason:
        return [metric.missing(str(reason)) for metric in (*definitions_of(FLOW), FLOW_GAP)]
    both = measured_by_judges(subject, [FLOW, POSTERIOR])
    names = [metric.name for metric in definitions_of(FLOW)]
    by_judge = [[*(metrics[name] for name in names), gap(metrics)] for metrics in both]
    return [over_judges(metrics) for metrics in zip(*by_judge, strict=True)]


def gap(metrics: dict[str, Metric]) -> Metric:
    """Return the flow gap as one judge sees it; the two sets of samples are independent."""
    flow, best = metrics[f"frechet_{FLOW}"], metrics[f"frechet_{POSTERIOR}"]
    return FLOW_GAP.difference(flow, best, n=flow.n)


def _label_free(subject: Subject) -> list[Metric]:
    try:
        return label_free_frechet.label_free_distances(subject, [FLOW])
    except Unmeasurable as reason:
        return [metric.missing(str(reason)) for metric in label_free_frechet.definitions_of(FLOW)]


def budget(shape: Shape, trained: TrainedFlow) -> list[Metric]:
    """Return what the flow's training and one sample cost."""
    recipe, steps = trained.flow.recipe, len(trained.losses)
    return [
        TRAINING_FLOPS.measured(training_flops(shape, recipe), n=steps),
        SAMPLING_FLOPS.measured(sampling_flops(shape, recipe), n=recipe.sampling_steps),
    ]


def training_flops(shape: Shape, recipe: FlowRecipe) -> int:
    """Count the operations of all steps of a training, forward and backward.

    >>> training_flops((16,), FlowRecipe(steps=2)) == 2 * training_flops((16,), FlowRecipe(steps=1))
    True
    """
    return recipe.steps * recipe.batch_size * _counted(shape, recipe, backward=True)


def sampling_flops(shape: Shape, recipe: FlowRecipe) -> int:
    """Count the operations of one sample: two evaluations of the network in each of Heun's steps."""
    return 2 * recipe.sampling_steps * _counted(shape, recipe, backward=False)


def _counted(shape: Shape, recipe: FlowRecipe, *, backward: bool) -> int:
    """Count the operations of the objective on one example."""
    with torch.device("meta"):
        model = untrained(shape, recipe)
        code: Tensor = torch.zeros(1, *shape)
        draws = {"noise": torch.zeros(1, *shape), "posterior": torch.zeros(1, *shape)}
        step = TrainingStep((code,), {**draws, "offset": torch.zeros(())}, torch.zeros(()), 1)

        def call() -> None:
            loss = model(step)["loss"]
            if backward:
                loss.backward()

        return count(call, gradients=backward).flops

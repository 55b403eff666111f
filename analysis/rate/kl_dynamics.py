"""The course of the KL term in training, its rise, peak and settled value, and the size of the gradient.

Early in training a VAE's code is empty; it fills while the decoder learns to use it, often beyond what the
objective will pay for in the end: a spike. Each step is that of one batch, so the curve is smoothed first.
No number here has an honest standard error: the steps of one training depend on each other. How they spread
over seeds is seen by training from several.
"""

from __future__ import annotations

import numpy as np

from latentbench.analysis.core.metric import Metric, define
from latentbench.analysis.core.registry import Measurement, analysis
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.rate.kl_curve import SPIKE, WINDOW, Curve, last_steps, smoothed

NO_HISTORY = "no training history: not trained step by step here"

KL_PEAK = define(
    "kl_peak",
    unit="nats",
    better="neither",
    title=f"Highest KL per image in training, smoothed over {WINDOW:.0%} of the steps so far each way.",
    heading="KL peak",
    decimals=2,
)
KL_PEAK_STEP = define(
    "kl_peak_step",
    unit="step",
    better="neither",
    title="Training step, counted from 1, at which the smoothed KL is highest.",
    heading="peak step",
    decimals=0,
)
KL_SETTLED = define(
    "kl_settled",
    unit="nats",
    better="neither",
    title="Mean of the smoothed KL per image over the last tenth of the training steps.",
    heading="KL settled",
    decimals=2,
)
KL_SPIKE = define(
    "kl_spike",
    unit="",
    better="neither",
    title=f"Ratio of the KL's peak to its settled value: about 1 without a spike, above {SPIKE:g} with one.",
    heading="KL spike",
    decimals=2,
)
GRADIENT_NORM = define(
    "gradient_norm_last",
    unit="",
    better="neither",
    title="Norm of the gradient of the loss, in units of the loss, median over the last tenth of the steps.",
    heading="∇ norm",
    decimals=2,
)
OF_KL = (KL_PEAK, KL_PEAK_STEP, KL_SETTLED, KL_SPIKE)


@analysis("training", [*OF_KL, GRADIENT_NORM], passes=())
def training(subject: Subject) -> Measurement:
    """Measure the course of the KL term and the gradient's norm from the subject's training history."""
    terms = subject.history.terms
    return Measurement((*_course(terms.get("kl"), terms), _gradient_norm(terms)))


def _course(kl: Curve | None, terms: dict[str, np.ndarray]) -> list[Metric]:
    """Return the metrics of the KL curve."""
    if kl is None or not len(kl):
        return [metric.missing("the objective has no KL term" if terms else NO_HISTORY) for metric in OF_KL]
    smooth = smoothed(kl)
    peak, settled, steps = int(np.argmax(smooth)), float(last_steps(smooth).mean()), len(kl)
    return [
        KL_PEAK.measured(float(smooth[peak]), n=steps),
        KL_PEAK_STEP.measured(peak + 1, n=steps),
        KL_SETTLED.measured(settled, n=steps),
        KL_SPIKE.measured(float(smooth[peak]) / settled, n=steps)
        if settled > 0
        else KL_SPIKE.missing("the KL settles at 0", n=steps),
    ]


def _gradient_norm(terms: dict[str, np.ndarray]) -> Metric:
    norms = terms.get("gradient_norm")
    if norms is None or not len(norms):
        return GRADIENT_NORM.missing("the gradient's norm was not recorded" if terms else NO_HISTORY)
    last = last_steps(norms)
    return GRADIENT_NORM.measured(float(np.median(last)), n=len(last))

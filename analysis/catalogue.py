"""Every analysis and metric there is, in the order of the tables: importing this registers them all."""

from __future__ import annotations

# ruff: isort: off
import latentbench.analysis.reconstruction
import latentbench.analysis.likelihood
import latentbench.analysis.fidelity
import latentbench.analysis.coverage
import latentbench.analysis.probe
import latentbench.analysis.zero_shot
import latentbench.analysis.embedding
import latentbench.analysis.throughput  # noqa: F401
from latentbench.analysis.measurement import ANALYSES
from latentbench.analysis.metric import METRICS

__all__ = ["ANALYSES", "METRICS"]

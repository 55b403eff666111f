"""Definitions without torch: equal to those that are registered, whether from the cache or not."""

import subprocess
import sys

import pytest

from latentbench.analysis.catalogue import METRICS
from latentbench.analysis.definitions import definition_of, definitions
from latentbench.data.errors import LatentbenchError
from latentbench.data.loading import DATASETS
from latentbench.data.sources.named_sets.published_sets import PUBLISHED
from latentbench.models.zoo import FAMILIES


def test_cached_definitions_are_those_of_the_registries(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path))
    for _ in ("made", "from the cache"):
        definitions.cache_clear()
        found = definitions()
        assert list(found.metrics.items()) == list(METRICS.items())
        assert set(FAMILIES) <= set(found.families)
        published = [f"torchvision:{name}" for name in PUBLISHED]
        assert list(found.datasets) == [*DATASETS, *published]
    definitions.cache_clear()
    code = "import sys; from latentbench.analysis.definitions import definition_of as d; d('mse')"
    subprocess.run([sys.executable, "-c", f"{code}; assert 'torch' not in sys.modules"], check=True)


def test_an_unknown_metric_is_named_with_a_guess():
    with pytest.raises(LatentbenchError, match="unknown metric 'mze'; did you mean 'mse'"):
        definition_of("mze")

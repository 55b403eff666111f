"""Metrics have the catalogue's order, independent of the order of imports."""

import subprocess
import sys
from functools import cache

import pytest

from latentbench.analysis.catalogue import ANALYSES
from latentbench.bench.present import listing
from latentbench.bench.run import suite

ORDER = "from latentbench.analysis.catalogue import METRICS; from latentbench.models.zoo import FAMILIES; "
ORDER += "print(*METRICS, *FAMILIES)"


FAMILY_ORDER = ["pca", "ae", "dae", "rae", "vae", "iwae", "betatc", "wae", "vq", "fsq", "clip", "import"]


@cache
def order_after(first):
    done = subprocess.run(
        [sys.executable, "-c", f"{first}; {ORDER}"], capture_output=True, text=True, check=True
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    "first",
    [
        "import latentbench.analysis.performance.throughput, latentbench.analysis.latent.density_gaps",
        "import latentbench.models.families.variational.vae, latentbench.models.families.image_text.clip",
    ],
)
def test_the_order_does_not_depend_on_what_was_imported_before(first):
    order = order_after(first)
    assert order == order_after("pass")
    assert (
        order.index("mse")
        < order.index("kl")
        < order.index("code_usage")
        < order.index("dead_zone_moment")
        < order.index("probe_linear")
    )
    assert [name for name in order if name in FAMILY_ORDER] == FAMILY_ORDER


def test_opt_in_analyses_run_only_where_a_suite_names_them():
    models = "description: d\nmodels: [{family: pca, latent_dim: 2}]\n"
    usual = suite.parse(models, name="s", where="s.yaml").analyses
    assert set(usual) == {name for name, each in ANALYSES.items() if not each.opt_in}
    assert {"importance", "latent_health", "missing_mass"}.isdisjoint(usual)
    named = suite.parse(models + "analyses: [importance]\n", name="s", where="s.yaml")
    assert named.analyses == ("importance",)


def test_the_list_of_metrics_marks_opt_in_analyses():
    marked = {row["metric"] for row in listing.metrics() if row["analysis"].endswith("(opt-in)")}
    opt_in = [analysis for _, analysis in ANALYSES.items() if analysis.opt_in]
    assert marked == {metric.name for analysis in opt_in for metric in analysis.metrics}
    assert {"log_likelihood_gaussian", "prompt_top1", "transfer_top1"} < marked

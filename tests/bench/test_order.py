"""The order of a table is the catalogue's, whichever module happened to be imported first."""

import subprocess
import sys

import pytest

ORDER = "from latentbench.analysis.catalogue import METRICS; from latentbench.models.zoo import FAMILIES; "
ORDER += "print(*METRICS, *FAMILIES)"


def order_after(first):
    done = subprocess.run(
        [sys.executable, "-c", f"{first}; {ORDER}"], capture_output=True, text=True, check=True
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    "first",
    [
        "import latentbench.analysis.throughput, latentbench.analysis.coverage",
        "import latentbench.models.families.vae, latentbench.models.families.clip",
    ],
)
def test_the_order_does_not_depend_on_what_was_imported_before(first):
    order = order_after(first)
    assert order == order_after("pass")
    assert (
        order.index("mse") < order.index("kl") < order.index("dead_zone_moment") < order.index("probe_linear")
    )
    assert [name for name in order if name in ("pca", "ae", "vae", "clip")] == ["pca", "ae", "vae", "clip"]

"""Set metrics of many points: memory stays linear in their number."""

import subprocess
import sys
import textwrap

import pytest


@pytest.mark.slow
def test_fifty_thousand_points_stay_within_two_gigabytes():
    """Every set metric at D = 64, in a separate process: the memory beyond that of the imports."""
    program = """
        import resource, torch
        from latentbench.analysis.fidelity import generative_metrics as fidelity
        peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        before = peak()
        draws = torch.Generator().manual_seed(0)
        real, fake = torch.randn(2, 50_000, 64, generator=draws)
        found = fidelity.neighbourhoods(real, fake)
        fidelity.frechet_distance(real, fake)
        fidelity.kernel_distance(real, fake)
        fidelity.vendi_score(fake)
        fidelity.authenticity(real, fake)
        print(peak() - before, found.density.mean().item())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True
    )
    needed, density = map(float, done.stdout.split())
    assert density == pytest.approx(1, abs=0.02)
    assert needed < 2 * 2**30

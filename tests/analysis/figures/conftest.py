"""Models of a made-up zoo, and the theme of the figures."""

import pytest
from shared.figures import timed_row, whole, worded

from latentbench.analysis.figures.drawing import style


@pytest.fixture(scope="module")
def zoo():
    plain = [whole(family, width) for family in ("pca", "ae") for width in (2, 8, 16)]
    vaes = [
        whole("vae", width, seed, beta=beta, likelihood="gaussian", sigma=0.5**0.5)
        for width in (2, 16)
        for beta in (0.25, 1.0, 4.0)
        for seed in (0, 1)
    ]
    rows = [timed_row("ae", "encode", batch, seconds=0.1 * batch, latent_dim=2) for batch in (1, 8)]
    return plain + vaes + rows


@pytest.fixture(scope="module")
def readers():
    return [worded(family, width) for family in ("clip", "siglip", "matryoshka") for width in (8, 32)]


@pytest.fixture(scope="module")
def everyone(zoo, readers):
    return zoo + readers


@pytest.fixture(autouse=True)
def themed():
    with style.theme():
        yield

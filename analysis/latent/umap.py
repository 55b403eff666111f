"""A UMAP figure of the latent space, with two numbers that state how reliable it is. It is never a score.

UMAP (McInnes et al. 2018, arXiv:1802.03426) draws the neighbour graph of the codes in the plane. Given
an exact graph and a linear start it is deterministic and an order of magnitude faster than its seeded
default, which searches for neighbours on one thread. The numbers compare neighbourhoods in the figure
with those in the codes; the figure of a good model may have poor numbers, and the reverse.

Codes and draws from the sampling density are placed together: if draws are apart from
codes, or codes have no draws among them, that density does not cover the codes.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentbench.analysis.core.metric import Unmeasurable, define, finite
from latentbench.analysis.core.registry import Measurement, analysis
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.generation.sample_bank import SampleBank
from latentbench.analysis.statistics.neighbours import nearest, squared_distances
from latentbench.data.storage.cache import cache_root
from latentbench.models.codes import one_position
from latentbench.models.seeds import numpy_seed

POINTS, DRAWS = 3000, 1000
NEIGHBOURS = 15
EPOCHS = 200
COLLAPSED = "the codes are all the same"


def umap_embedding(codes: Tensor, *, seed: int) -> Tensor:
    """Map codes `[N, D]` to points of the plane, float32 `[N, 2]`; equal codes and seeds give equal points.

    Raises ValueError for codes that are all equal, which have no directions to draw, and for fewer
    than `NEIGHBOURS` + 1.
    """
    if len(codes) <= NEIGHBOURS:
        raise ValueError(f"UMAP needs more than {NEIGHBOURS} codes, got {len(codes)}")
    if is_collapsed(codes):
        raise ValueError(COLLAPSED)
    distances, indices = nearest(codes, codes, NEIGHBOURS - 1, exclude_self=True)
    # UMAP expects every point first among its own neighbours.
    distances = torch.cat([torch.zeros(len(codes), 1), distances], dim=1)
    indices = torch.cat([torch.arange(len(codes))[:, None], indices], dim=1)
    with _torch_threads_kept(), warnings.catch_warnings():
        umap = _umap_module()
        warnings.filterwarnings("ignore", "precomputed_knn", UserWarning)
        warnings.filterwarnings("ignore", "n_jobs value", UserWarning)
        reducer = umap.UMAP(
            n_neighbors=NEIGHBOURS,
            precomputed_knn=(indices.numpy(), distances.numpy()),
            init="pca",
            n_epochs=EPOCHS,
            random_state=numpy_seed(seed),
        )
        embedding = reducer.fit_transform(_wide(codes).numpy())
    return torch.from_numpy(embedding.astype(np.float32))


def _umap_module() -> ModuleType:
    """Import UMAP at first use: it takes seconds, and most analyses do not need it.

    Its compiler, Numba, refuses to start if neither the package's folder nor the user's cache folder is
    writable. Our own cache folder always is, since checkpoints are written there.
    """
    import numba

    try:
        import umap
    except RuntimeError:
        numba.config.CACHE_DIR = str(cache_root() / "numba")  # type: ignore[attr-defined]
        import umap
    module: ModuleType = umap
    return module


def is_collapsed(codes: Tensor) -> bool:
    """True if all codes `[N, D]` are the same."""
    return bool((codes == codes[:1]).all())


def trustworthiness(codes: Tensor, embedding: Tensor, *, k: int = NEIGHBOURS) -> float:
    """Compute the trustworthiness of a map, in [0, 1]: 1 if its neighbours are all neighbours as codes.

    1 − 2 / (N k (2N − 3k − 1)) · Σᵢ Σⱼ max(0, r(i, j) − k), over the k nearest j of i in the map,
    r(i, j) being the rank of j among all neighbours of i by distance between codes (Venna & Kaski 2001).
    Equals scikit-learn's `trustworthiness`, in memory O(chunk · N) instead of O(N²), except where codes are
    equal: those have one rank here, and an arbitrary order there. `codes` are `[N, D]`, `embedding` is the
    map, `[N, 2]`. Raises ValueError unless k < N / 2, as scikit-learn does.
    """
    count = len(codes)
    if k >= count / 2:
        raise ValueError(f"trustworthiness needs k < N / 2, got k = {k}, N = {count}")
    _, shown = nearest(embedding.double(), embedding.double(), k, exclude_self=True)
    excess = 0
    for rows, squared in squared_distances(codes.double(), codes.double()):
        own = torch.arange(rows.start, rows.stop)
        squared[own - rows.start, own] = torch.inf
        excess += int((_ranks(squared, shown[rows]) - k).clamp_min(0).sum())
    return 1 - 2 * excess / (count * k * (2 * count - 3 * k - 1))


def neighbour_overlap(codes: Tensor, embedding: Tensor, *, k: int = NEIGHBOURS) -> Tensor:
    """Compute the share of each point's k nearest codes that are also among its k nearest in a map, `[N]`.

    `codes` are `[N, D]`, `embedding` is the map, `[N, 2]`; the share is in [0, 1]. Raises ValueError for
    k ≥ N and for values that are not finite.
    """
    _, near = nearest(codes.double(), codes.double(), k, exclude_self=True)
    _, shown = nearest(embedding.double(), embedding.double(), k, exclude_self=True)
    return (near[:, :, None] == shown[:, None, :]).any(2).double().mean(1)


@contextmanager
def _torch_threads_kept() -> Iterator[None]:
    """Keep torch's number of threads: UMAP's compiler shares the pool, and would leave it at all cores."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _ranks(distances: Tensor, chosen: Tensor) -> Tensor:
    """Rank within its row of `distances` `[M, N]`, from 1, every chosen column `[M, k]`.

    Equal distances share the best rank, so that a duplicate is never ranked behind its original.
    """
    limits = distances.gather(1, chosen)
    closer = [(distances < limit).count_nonzero(1) for limit in limits.T.unsqueeze(2)]
    return torch.stack(closer, dim=1) + 1


def _wide(codes: Tensor) -> Tensor:
    """Add a second, constant dimension to codes with only one: UMAP starts from their 2-D PCA."""
    return codes if codes.shape[1] > 1 else torch.cat([codes, torch.zeros_like(codes)], dim=1)


UMAP_TRUSTWORTHINESS = define(
    "umap_trustworthiness",
    unit="fraction",
    better="neither",
    title="Trustworthiness of the UMAP figure's neighbours; a check, not a score.",
    version=2,
    heading="UMAP trust",
    tolerance=0.02,
)
UMAP_KNN_OVERLAP = define(
    "umap_knn_overlap",
    unit="fraction",
    better="neither",
    title="Share of the 15 nearest codes that are also nearest in the UMAP figure; a check, not a score.",
    version=2,
    heading="UMAP k-NN",
    tolerance=0.05,
)


@analysis("embedding", [UMAP_TRUSTWORTHINESS, UMAP_KNN_OVERLAP])
def embedding(subject: Subject) -> Measurement:
    """Map the first 3,000 test codes and 1,000 draws, or a third as many draws as codes.

    The arrays are `embedding` `[N, 2]`, `labels` `[N]`, and `prior` or `moment` `[M, 2]`, after the draws'
    sampler.
    """
    codes = subject.test_points.mean[:POINTS]
    if len(codes) <= 2 * NEIGHBOURS:
        raise Unmeasurable(f"needs more than {2 * NEIGHBOURS} test images, got {len(codes)}")
    finite(subject.point_samples)
    if is_collapsed(finite(codes)):
        raise Unmeasurable(COLLAPSED)
    # The model's own prior if it has one, since samples are drawn from it.
    sampler = "prior" if subject.has_prior else "moment"
    grids = subject.once(SampleBank).codes(sampler, min(DRAWS, len(codes) // 3))
    draws = one_position(grids, subject.generator("drawn positions"))
    together = torch.cat([codes, draws])
    embedding = umap_embedding(together, seed=subject.seed)
    overlap = neighbour_overlap(together, embedding)
    metrics = (
        UMAP_TRUSTWORTHINESS.measured(trustworthiness(together, embedding), n=len(together)),
        UMAP_KNN_OVERLAP.measured(overlap.mean().item(), n=len(together)),
    )
    arrays = _arrays(embedding[: len(codes)], subject.data.test.labels)
    return Measurement(metrics, arrays | {sampler: embedding[len(codes) :].numpy()})


def _arrays(embedding: Tensor, labels: Tensor | None) -> dict[str, NDArray[np.generic]]:
    arrays: dict[str, NDArray[np.generic]] = {"embedding": embedding.numpy()}
    if labels is not None:
        arrays["labels"] = labels[: len(embedding)].numpy().astype(np.uint16)
    return arrays

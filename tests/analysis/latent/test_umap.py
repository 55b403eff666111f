"""The scores printed on the UMAP figure agree with scikit-learn, and the figure is repeatable."""

import os
import subprocess
import sys
import warnings

import pytest
import torch
from sklearn import manifold

from latentbench.analysis.core.data_context import DataContext
from latentbench.analysis.core.registry import ANALYSES
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.generation.sample_bank import SampleBank
from latentbench.analysis.latent.umap import neighbour_overlap, trustworthiness, umap_embedding
from latentbench.data.images import ImageData, Split
from latentbench.models.protocols import Posterior


def gaussian(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("n", "d", "k"), [(40, 3, 15), (600, 16, 15), (300, 1, 5)])
@pytest.mark.parametrize("related", [True, False])
def test_trustworthiness_is_scikit_learns(n, d, k, related):
    codes = gaussian(n, d).double()
    picture = codes[:, :2] if related else gaussian(n, 2, seed=1).double()
    expected = manifold.trustworthiness(codes.numpy(), picture.numpy(), n_neighbors=k)
    assert trustworthiness(codes, picture, k=k) == pytest.approx(expected, abs=1e-12)


def test_a_faithful_map_is_trusted_and_a_random_one_half():
    codes = gaussian(800, 2)
    assert trustworthiness(codes, 3 * codes + 1) == 1
    assert torch.equal(neighbour_overlap(codes, 3 * codes + 1), torch.ones(800).double())
    picture = gaussian(800, 2, seed=1)
    assert trustworthiness(codes, picture) == pytest.approx(0.5, abs=0.03)
    assert neighbour_overlap(codes, picture).mean().item() == pytest.approx(15 / 799, abs=0.01)


def test_a_duplicate_is_not_distrusted():
    codes = torch.cat([torch.zeros(20, 2), gaussian(80, 2) + 10])
    picture = torch.cat([gaussian(20, 2), gaussian(80, 2) + 100])
    assert trustworthiness(codes[:20], picture[:20], k=5) == 1


def test_trustworthiness_refuses_too_many_neighbours():
    with pytest.raises(ValueError, match=r"k < N / 2, got k = 15, N = 30"):
        trustworthiness(gaussian(30, 2), gaussian(30, 2))


def test_the_embedding_repeats_and_leaves_torch_unchanged():
    codes = gaussian(400, 8)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        first = umap_embedding(codes, seed=0)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(first, umap_embedding(codes, seed=0))
    assert not torch.equal(first, umap_embedding(codes, seed=1))
    assert first.shape == (400, 2)
    assert first.dtype == torch.float32


def test_the_embedding_keeps_clusters_apart():
    codes = torch.cat([gaussian(200, 8), gaussian(200, 8, seed=1) + 20])
    picture = umap_embedding(codes, seed=0)
    one, other = picture[:200], picture[200:]
    assert ((one.amax(0) < other.amin(0)) | (one.amin(0) > other.amax(0))).any()
    assert trustworthiness(codes, picture) > 0.9


@pytest.mark.parametrize(
    "codes",
    [gaussian(200, 1), gaussian(20, 4).repeat(10, 1), torch.eye(100)[:, :3], gaussian(16, 2)],
    ids=["one dimension", "each ten times", "three outliers", "the fewest"],
)
def test_awkward_codes_have_an_embedding(codes):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        picture = umap_embedding(codes, seed=0)
    assert picture.shape == (len(codes), 2)
    assert picture.isfinite().all()


def test_codes_without_an_embedding_are_refused():
    with pytest.raises(ValueError, match="all the same"):
        umap_embedding(torch.full((100, 3), 0.1), seed=0)
    with pytest.raises(ValueError, match="more than 15 codes, got 15"):
        umap_embedding(gaussian(15, 2), seed=0)


def test_the_analysis_returns_the_stamp_and_the_embedding(vae):
    measured = ANALYSES["embedding"].measure(vae)
    trust, overlap = measured.metrics
    picture, drawn = (torch.from_numpy(measured.arrays[name]) for name in ("embedding", "prior"))
    assert (picture.shape, drawn.shape) == ((500, 2), (166, 2))
    assert measured.arrays["labels"].tolist() == vae.data.test.labels.tolist()
    together = torch.cat([vae.test_codes.mean, vae.once(SampleBank).codes("prior", 166)])
    assert trust.value == trustworthiness(together, torch.cat([picture, drawn]))
    assert overlap.value == neighbour_overlap(together, torch.cat([picture, drawn])).mean().item()
    assert 0.9 < trust.value < 1
    assert trust.better == overlap.better == "neither"


def without_labels(data, count):
    train, test = (Split(split.images[:count], None) for split in (data.train, data.test))
    return ImageData("unlabelled", train, test, ())


def test_few_images_are_null_and_no_labels_leave_them_out(pca):
    few, enough = (DataContext(without_labels(pca.data, count)) for count in (30, 31))
    measured = ANALYSES["embedding"].measure(Subject(pca.model, few, seed=0))
    assert [metric.reason for metric in measured.metrics] == ["needs more than 30 test images, got 30"] * 2
    measured = ANALYSES["embedding"].measure(Subject(pca.model, enough, seed=0))
    assert list(measured.arrays) == ["embedding", "moment"]
    assert all(metric.value is not None for metric in measured.metrics)


def test_a_collapsed_model_is_null(pca):
    class Collapsed:
        def encode(self, x):
            return Posterior(torch.full((len(x), 4), 0.1))

        def decode(self, z):
            raise NotImplementedError

    measured = ANALYSES["embedding"].measure(Subject(Collapsed(), pca.context, seed=0))
    assert [metric.reason for metric in measured.metrics] == ["the codes are all the same"] * 2
    assert measured.arrays == {}


@pytest.mark.slow  # everything is compiled anew
def test_umap_runs_without_a_cache_folder_of_numba(tmp_path):
    """Numba finds no folder with this setting alone, as in a read-only container without a home."""
    code = "import torch; from latentbench.analysis.latent.umap import umap_embedding as embed; "
    code += "print(embed(torch.randn(40, 3), seed=0).shape)"
    environment = os.environ | {
        "NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator",
        "LATENTBENCH_CACHE": str(tmp_path),
    }
    environment.pop("NUMBA_CACHE_DIR", None)
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, "torch.Size([40, 2])\n"), run.stderr
    assert any((tmp_path / "numba").iterdir())

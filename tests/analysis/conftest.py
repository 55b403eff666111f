"""One small world for every analysis: real digits, a real judge and real models of the zoo."""

import pytest
import torch

import latentbench.data
from latentbench.analysis.core.data_context import DataContext
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.features.stored_judges import load_judges
from latentbench.data.images import ImageData, Split
from latentbench.models.training.recipe import Recipe
from latentbench.models.zoo import Training, model_spec, train_or_load

TRAIN, TEST = 3000, 500


def _first(split, count):
    return Split(split.images[:count], split.labels[:count])


@pytest.fixture(scope="session")
def mnist():
    return latentbench.data.load("mnist")


@pytest.fixture(scope="session")
def mnist_small(mnist):
    return ImageData("mnist-small", _first(mnist.train, TRAIN), _first(mnist.test, TEST), mnist.classes)


@pytest.fixture(scope="session")
def context(mnist, mnist_small):
    return DataContext(mnist_small, load_judges(mnist))


@pytest.fixture(scope="session")
def subject_of(context, shared_folder):
    """Train a member of the zoo on the small data, once for all worker processes."""
    subjects = {}

    def make(family, latent_dim, *, epochs=12, **settings):
        key = (family, latent_dim, epochs, *sorted(settings.items()))
        if key not in subjects:
            spec = model_spec(family=family, latent_dim=latent_dim, **settings)
            trained = train_or_load(Training(spec, Recipe(epochs=epochs), 0), context.data)
            subjects[key] = Subject(trained.model, context, seed=0)
        return subjects[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LATENTBENCH_CACHE", str(shared_folder / "trained"))
        yield make


@pytest.fixture(scope="session")
def pca(subject_of):
    return subject_of("pca", 8)


@pytest.fixture(scope="session")
def ae(subject_of):
    return subject_of("ae", 2, hidden=64)


@pytest.fixture(scope="session")
def vae(subject_of):
    return subject_of("vae", 4, hidden=64)


@pytest.fixture
def draws():
    return torch.Generator().manual_seed(0)

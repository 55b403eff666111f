"""A model on data that have no captions."""

import pytest

from latentbench.analysis.core.data_context import DataContext
from latentbench.analysis.core.subject import Subject
from latentbench.data import load
from latentbench.models.training.recipe import Recipe
from latentbench.models.zoo import Training, model_spec, train_or_load


@pytest.fixture(scope="session")
def digits_subject():
    data = load("digits")
    trained = train_or_load(
        Training(model_spec(family="pca", latent_dim=4), Recipe(), 0), data, use_cache=False
    )
    return Subject(trained.model, DataContext(data), seed=0)

"""PCA agrees with scikit-learn."""

import numpy as np
import pytest
import torch
from shared.families import CPU, build, noise_data
from sklearn.decomposition import PCA as SklearnPCA

from latentbench.data.errors import LatentbenchError
from latentbench.models.families.autoencoders import pca as pca_module
from latentbench.models.training.recipe import Recipe


def fit_pca(data, latent_dim):
    model = build(data.image_shape, family="pca", latent_dim=latent_dim)
    model.fit(data, Recipe(), seed=0, device=CPU, progress=lambda *_: None)
    return model


def test_pca_equals_scikit_learn():
    data = noise_data()
    model = fit_pca(data, 6)
    x = data.train.images.float() / 255
    reference = SklearnPCA(6, svd_solver="full").fit(x.flatten(1).double().numpy())
    codes = model.encode(x).mean.numpy()
    expected = reference.transform(x.flatten(1).numpy())
    # An eigenvector's sign is arbitrary.
    assert np.abs(codes) == pytest.approx(np.abs(expected), abs=1e-3)
    error = (model.decode(model.encode(x).mean) - x).square().mean().item()
    rebuilt = np.clip(reference.inverse_transform(expected), 0, 1)
    assert error == pytest.approx(np.square(rebuilt - x.flatten(1).numpy()).mean(), rel=1e-4)


def test_pca_by_subspace_iteration_equals_the_exact_one(monkeypatch):
    data = noise_data()
    exact = fit_pca(data, 4)
    monkeypatch.setattr(pca_module, "EXACT_PIXELS", 10)
    streamed = fit_pca(data, 4)
    assert torch.allclose(exact.components, streamed.components, atol=1e-4)


def test_pca_refuses_more_components_than_pixels():
    with pytest.raises(LatentbenchError, match="must be ≤ 64"):
        build((1, 8, 8), family="pca", latent_dim=65)

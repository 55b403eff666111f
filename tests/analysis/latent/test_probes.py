"""Both probes agree with scikit-learn on real codes, and constant dimensions do no harm."""

from dataclasses import replace

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from latentbench.analysis.core.data_context import DataContext
from latentbench.analysis.core.registry import ANALYSES
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.latent.probes import fit_linear_probe, knn_predict, standardise
from latentbench.analysis.statistics.intervals import binomial_se
from latentbench.data.images import ImageData, Split


@pytest.fixture(scope="module")
def codes(pca):
    train, test = standardise(pca.train_codes.mean, pca.test_codes.mean)
    return train, pca.data.train.labels, test, pca.data.test.labels


def test_the_linear_probe_is_scikit_learns_logistic_regression(codes):
    train, labels, test, truth = codes
    ours = fit_linear_probe(train, labels, 10)
    theirs = LogisticRegression(max_iter=5000, tol=1e-8).fit(train.double().numpy(), labels.numpy())
    accuracy = (ours.predict(test) == truth).double().mean().item()
    assert accuracy == pytest.approx(theirs.score(test.double().numpy(), truth.numpy()), abs=0.002)
    # Weights that differ by the same amount in every class are the same classifier.
    weight = ours.weight - ours.weight.mean(1, keepdim=True)
    expected = torch.from_numpy(theirs.coef_.T).float()
    torch.testing.assert_close(weight, expected - expected.mean(1, keepdim=True), atol=0.03, rtol=0)


def test_the_penalty_shrinks_the_weights(codes):
    train, labels, _, _ = codes
    strong, weak = (fit_linear_probe(train, labels, 10, penalty=p).weight.norm() for p in (100.0, 1.0))
    assert strong < 0.8 * weak


def test_the_neighbours_vote_as_scikit_learns_do(codes):
    train, labels, test, _ = codes
    theirs = KNeighborsClassifier(20, algorithm="brute").fit(train.numpy(), labels.numpy())
    agree = knn_predict(train, labels, test, 10) == torch.from_numpy(theirs.predict(test.numpy()))
    assert agree.double().mean() >= 0.998  # rounding may swap the 20th neighbour with the 21st


def test_codes_are_standardised_and_constants_become_zero():
    train = torch.tensor([[1.0, 1e4 + 0.1], [3.0, 1e4 + 0.1], [5.0, 1e4 + 0.1]])
    scaled, other = standardise(train, torch.tensor([[3.0, -7.0]]))
    torch.testing.assert_close(scaled[:, 0].std(correction=0), torch.tensor(1.0))
    assert scaled.mean(0).tolist() == pytest.approx([0, 0], abs=1e-7)
    assert scaled[:, 1].tolist() == [0, 0, 0]
    assert other.tolist() == [[0, 0]]


def test_scale_and_dead_dimensions_do_not_change_the_probes(pca):
    model = pca.model

    class Stretched:
        """The same codes, every dimension in other units, and one that is always 5."""

        def encode(self, x):
            posterior = model.encode(x)
            units = torch.logspace(-3, 3, posterior.mean.shape[1])
            dead = torch.full((len(x), 1), 5.0)
            return replace(posterior, mean=torch.cat([posterior.mean * units, dead], dim=1))

        def decode(self, z):
            raise NotImplementedError

    plain = ANALYSES["probe"].measure(pca).metrics
    stretched = ANALYSES["probe"].measure(Subject(Stretched(), pca.context, seed=0)).metrics
    for one, other in zip(plain, stretched, strict=True):
        assert one.value == pytest.approx(other.value, abs=0.003)


def test_the_analysis_states_accuracy_with_its_binomial_error(pca):
    linear, knn, *of_grids = ANALYSES["probe"].measure(pca).metrics
    assert {metric.reason for metric in of_grids} == {"the code is a vector"}
    assert (linear.name, knn.name) == ("probe_linear", "probe_knn")
    assert 0.7 < linear.value < knn.value < 0.95
    assert knn.n == 500
    assert knn.se == binomial_se(round(knn.value * 500), 500)


def test_without_labels_both_are_null(pca):
    train, test = (Split(split.images, None) for split in (pca.data.train, pca.data.test))
    context = DataContext(ImageData("unlabelled", train, test, ()))
    measured = ANALYSES["probe"].measure(Subject(pca.model, context, seed=0))
    assert {metric.value for metric in measured.metrics} == {None}
    assert {metric.reason for metric in measured.metrics} == {"the data has no labels"}

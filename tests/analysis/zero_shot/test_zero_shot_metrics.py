"""Formulas of zero-shot classification agree with scikit-learn, CLIP_benchmark and hand-computed values."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, top_k_accuracy_score

from latentbench.analysis.zero_shot.zero_shot_metrics import (
    cut,
    ensemble,
    expected_calibration_error,
    hits_at,
    principal_axes,
    recall_per_class,
    reliability,
    retrieval_recall,
    tied_accuracy,
)


def problem(seed=0, images=200, classes=7):
    draws = torch.Generator().manual_seed(seed)
    return torch.randn(images, classes, generator=draws), torch.randint(
        0, classes, (images,), generator=draws
    )


@pytest.mark.parametrize("k", [1, 5])
def test_top_k_is_scikit_learns(k):
    scores, truth = problem()
    expected = top_k_accuracy_score(truth, scores, k=k)
    assert hits_at(scores, truth, k).double().mean().item() == pytest.approx(expected)


def test_mean_recall_is_scikit_learns_without_absent_classes():
    scores, truth = problem()
    recall = recall_per_class(hits_at(scores, truth, 1), truth, 8)
    assert recall[7].isnan()
    assert recall[:7].mean().item() == pytest.approx(balanced_accuracy_score(truth, scores.argmax(1)))


def test_an_image_that_cannot_be_read_is_never_recognised():
    scores = torch.eye(3)
    assert hits_at(scores, torch.tensor([0, -1, 2]), 3).tolist() == [True, False, True]


def test_more_than_there_are_is_refused():
    with pytest.raises(ValueError, match="k must be 1 to 3, the number of classes, got 5"):
        hits_at(torch.eye(3), torch.arange(3), 5)


def test_what_cannot_be_told_apart_is_guessed():
    scores = torch.tensor([[0.9, 0.1], [0.1, 0.9]])
    group = torch.tensor([0, 0, 0, 1])
    assert tied_accuracy(scores, torch.tensor([1, 3]), group).tolist() == pytest.approx([1 / 3, 1])
    assert tied_accuracy(scores, torch.tensor([3, 0]), group).tolist() == [0, 0]


def test_calibration_by_hand():
    probabilities = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.4, 0.6]])
    truth = torch.tensor([0, 1, 0, 1])
    # Two images at 0.9 of which one is right, two at 0.6 that are both right.
    assert expected_calibration_error(probabilities, truth) == pytest.approx(0.5 * 0.4 + 0.5 * 0.4)
    table = reliability(probabilities, truth)
    assert table.count.sum() == 4
    assert expected_calibration_error(torch.eye(2), torch.arange(2)) == 0


@given(st.integers(0, 100))
@settings(max_examples=20, deadline=None)
def test_calibration_error_is_at_least_the_overall_gap(seed):
    scores, truth = problem(seed, 50, 4)
    probabilities = scores.softmax(1)
    error = expected_calibration_error(probabilities, truth)
    gap = abs(probabilities.max(1).values.mean() - (scores.argmax(1) == truth).double().mean()).item()
    assert gap - 1e-6 <= error <= 1


def test_retrieval_is_clip_benchmarks():
    rival = pytest.importorskip(
        "clip_benchmark.metrics.zeroshot_retrieval", reason="clip-benchmark not installed"
    )
    scores, truth = problem(images=40, classes=9)
    positives = truth.unsqueeze(1) == torch.arange(9)
    for k in (1, 5):
        for queries, own in ((scores, positives), (scores.T, positives.T)):
            expected = (rival.recall_at_k(queries, own, k) > 0).double().mean().item()
            assert retrieval_recall(queries, own, k=k) == pytest.approx(expected)


def test_an_ensemble_is_normalised_before_and_after():
    texts = torch.tensor([[[2.0, 0]], [[0, 1.0]]])
    assert ensemble(texts).tolist()[0] == pytest.approx([0.5**0.5] * 2)


def test_the_full_width_changes_no_cosine():
    points = F.normalize(torch.randn(50, 6, generator=torch.Generator().manual_seed(0)), dim=1)
    axes = principal_axes(points)
    assert torch.allclose(axes.T @ axes, torch.eye(6), atol=1e-5)
    assert torch.allclose(cut(points @ axes, 6) @ cut(points @ axes, 6).T, points @ points.T, atol=1e-5)
    variance = (points @ axes).var(0)
    assert (variance.diff() <= 1e-6).all()

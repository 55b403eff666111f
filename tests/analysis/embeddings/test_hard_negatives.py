"""Hard negatives on real captioned digits: the image decides, and nothing else can."""

import pytest
import torch

from latentbench.analysis.catalogue import ANALYSES
from latentbench.analysis.embeddings.hard_negatives import Pairs, pair_up, wins
from latentbench.data import with_captions


@pytest.fixture(scope="module")
def drawn(mnist_small):
    return with_captions(mnist_small)


@pytest.fixture(scope="module")
def metrics(subject_of):
    measured = ANALYSES["hard_negatives"].measure(subject_of("clip", 8, epochs=30))
    return {metric.name: metric for metric in measured.metrics}


def test_a_tie_is_half_a_win():
    pairs = Pairs("digit", torch.tensor([0, 1, 1]), torch.tensor([0, 0, 2]), torch.tensor([1, 1, 1]))
    scores = torch.tensor([[2.0, 1.0, 0.0], [1.0, 1.0, 0.0]])
    assert wins(scores, pairs, pairs.image).tolist() == [1, 0.5, 0]


def test_pairs_differ_in_one_factor_and_use_the_same_words(drawn):
    cells = torch.tensor(drawn.scheme.cells)
    for place, pairs in enumerate(pair_up(drawn, torch.Generator().manual_seed(0))):
        changed = cells[pairs.right] != cells[pairs.wrong]
        assert changed[:, place].all()
        assert changed.sum() == len(changed)
        values = cells[pairs.right, place].bincount(minlength=10)
        assert values.tolist() == cells[pairs.wrong, place].bincount(minlength=10).tolist()
        assert torch.equal(drawn.test_unseen.captions[pairs.image], pairs.right)


def test_a_trained_model_chooses_by_the_image(metrics):
    assert metrics["hard_negatives"].value > 0.7
    assert metrics["native_hard_negatives"].value > 0.6
    parts = [metrics[f"hard_negatives_{name}"] for name in ("digit", "stroke", "slant")]
    mean = sum(part.value * part.n for part in parts) / sum(part.n for part in parts)
    assert metrics["hard_negatives"].value == pytest.approx(mean)
    assert "name no brightness" in metrics["hard_negatives_brightness"].reason


@pytest.mark.parametrize("control", ["hard_negatives_blind", "hard_negatives_shuffled"])
def test_without_the_image_it_is_a_guess(metrics, control):
    assert metrics[control].value < metrics["hard_negatives"].value - 0.2
    assert metrics[control].value < 0.65


def test_data_without_captions_is_null(digits_subject):
    assert all(metric.value is None for metric in ANALYSES["hard_negatives"].measure(digits_subject).metrics)

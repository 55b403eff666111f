"""Accuracy over bits, of real models on captioned digits."""

import numpy as np
import pytest
import torch

from latentbench.analysis.catalogue import ANALYSES
from latentbench.analysis.embeddings.embedding_bits import retrieval_precision
from latentbench.analysis.stored.lines import from_lines


@pytest.fixture(scope="module")
def clip(subject_of):
    return ANALYSES["embedding_bits"].measure(subject_of("clip", 8, epochs=4))


def test_retrieval_counts_each_class_by_its_nearest_images():
    scores = torch.tensor([[0.9, 0.0], [0.8, 0.1], [0.7, 0.9], [0.1, 0.2]])
    truth = torch.tensor([0, 1, 1, 0])
    assert retrieval_precision(scores, truth, nearest=1) == 1
    # The first class finds one of its two images among two, the second one of its two.
    assert retrieval_precision(scores, truth, nearest=2) == 0.5
    # A class has at most as many as there are images of it.
    assert retrieval_precision(scores, truth, nearest=10) == 0.5


def test_retrieval_leaves_out_classes_without_images():
    scores = torch.tensor([[0.9, 0.0, 0.5]])
    assert retrieval_precision(scores, torch.tensor([0]), nearest=1) == 1


def test_full_floats_read_as_the_uncoded_vectors(clip, subject_of):
    own = ANALYSES["zero_shot"].measure(subject_of("clip", 8, epochs=4))
    known = {metric.name: metric.value for metric in own.metrics}
    for reader, metric in (("towers", "zero_shot_top1"), ("own_text", "native_zero_shot_top1")):
        names = from_lines(clip.arrays[f"{reader}_lines"])
        accuracy = dict(zip(names, clip.arrays[f"{reader}_accuracy"], strict=True))
        assert accuracy["8 × float32"] == pytest.approx(known[metric], abs=0.003)


def test_enough_bits_are_fewer_than_those_of_floats(clip):
    enough, int8, binary = clip.metrics
    names = from_lines(clip.arrays["towers_lines"])
    accuracy = dict(zip(names, clip.arrays["towers_accuracy"], strict=True))
    bits = dict(zip(names, clip.arrays["towers_bits"], strict=True))
    assert 8 <= enough.value <= 64 < bits["8 × float32"] == 256
    assert int8.value == pytest.approx(accuracy["8 × float32"], abs=0.02)
    assert binary.value < int8.value
    reached = [name for name in names if accuracy[name] >= 0.99 * accuracy["8 × float32"]]
    assert enough.value == min(bits[name] for name in reached)


def test_an_encoder_without_text_is_read_by_towers(pca):
    measured = ANALYSES["embedding_bits"].measure(pca)
    assert {name.partition("_")[0] for name in measured.arrays} == {"towers"}
    assert np.all(measured.arrays["towers_retrieval"] <= 1)
    assert measured.metrics[0].value is not None


def test_data_without_captions_and_a_model_without_text_is_null(pca, digits_subject):
    (enough, *_) = ANALYSES["embedding_bits"].measure(digits_subject).metrics
    assert enough.value is None
    assert "no text encoder" in enough.reason

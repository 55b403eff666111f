"""The contrastive loss of captions that several images share."""

import pytest
import torch

from latentbench.models.families.image_text.contrastive import multi_positive_cross_entropy


def test_all_images_of_a_caption_are_positives():
    logits = torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 3.0], [9.0, 9.0, 9.0]])
    caption = torch.tensor([0, 0, 1])  # the third caption has no image in this batch
    first = -logits[0].log_softmax(0)[:2].mean()
    second = -logits[1].log_softmax(0)[2]
    assert multi_positive_cross_entropy(logits, caption).item() == pytest.approx(
        ((first + second) / 2).item()
    )

"""Figures of zero-shot classification are checked through matplotlib's objects."""

import numpy as np
import pytest
from shared.figures import words

from latentbench.analysis.figures.catalogue import FIGURES
from latentbench.analysis.figures.zero_shot import prompt_spread, zero_shot_bottleneck
from latentbench.data.captioned.schemes import DIGIT_CAPTIONS


def test_zero_shot_shows_chance_and_every_family_on_one_axis(zoo):
    axes = zero_shot_bottleneck.draw(zoo).axes[0]
    lines = {line.get_label(): line for line in axes.lines}
    assert lines["chance (1.1%)"].get_ydata()[0] == pytest.approx(1 / 90)
    beside = np.array(lines["ae"].get_xdata()) / [2, 8, 16]
    assert beside == pytest.approx(beside[0])
    assert abs(np.log2(beside[0])) < 0.25
    assert not np.isclose(lines["pca"].get_xdata()[0], lines["ae"].get_xdata()[0])
    assert lines["ae"].get_ydata() == pytest.approx([0.1, 0.3, 0.4])
    assert axes.get_ylim()[1] <= 1.02
    assert {"pca", "ae", "vae β=0.25", "vae β=1", "vae β=4"} < set(lines)


def test_own_text_is_a_separate_zero_shot_line(readers):
    labels = FIGURES["zero_shot_bottleneck"].draw(readers).axes[0].get_legend_handles_labels()[1]
    assert {"clip", "clip, own text", "siglip, own text"} <= set(labels)


def test_the_best_and_the_worst_zero_shot_captions_are_listed(readers):
    below = FIGURES["prompt_spread"].draw(readers[:1]).axes[1]
    recall, names = readers[0].arrays[prompt_spread.RECALL], DIGIT_CAPTIONS.captions
    listed = [label.get_text() for label in below.get_yticklabels()]
    assert listed[0] == names[int(np.nanargmin(recall))]
    assert listed[-1] == names[int(np.nanargmax(recall))]


def test_confusion_by_factor_shows_the_widest_clip(readers):
    shown = words(FIGURES["factor_confusion"].draw(readers))
    assert "clip-32: digit" in shown
    assert "clip-8: digit" not in shown

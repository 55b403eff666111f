"""Labels of models say what sets them apart, and every regularised family learns."""

import pytest
from shared.families import trained, unexplained

from latentbench.models.zoo import model_spec


@pytest.mark.parametrize(
    ("given_settings", "label"),
    [
        ({"family": "dae"}, "dae-16 noise=0.3"),
        ({"family": "dae", "corruption": "masking", "noise": 0.5}, "dae-16 masking noise=0.5"),
        ({"family": "rae"}, "rae-16"),
        ({"family": "rae", "code_weight": 1}, "rae-16 code weight=1"),
        ({"family": "iwae"}, "iwae-16 k=5"),
        ({"family": "iwae", "likelihood": "bernoulli", "k": 50}, "iwae-16 bernoulli k=50"),
        ({"family": "betatc"}, "betatc-16 β=6"),
        ({"family": "betatc", "beta": 2}, "betatc-16 β=2"),
        ({"family": "wae"}, "wae-16"),
        ({"family": "wae", "mmd_weight": 50}, "wae-16 mmd weight=50"),
    ],
)
def test_labels_say_what_sets_a_model_apart(given_settings, label):
    assert model_spec(latent_dim=16, **given_settings).label == label


@pytest.mark.parametrize(
    ("settings_", "terms"),
    [
        ({"family": "dae"}, set()),
        ({"family": "dae", "corruption": "masking"}, set()),
        ({"family": "rae"}, {"code_penalty", "decoder_penalty"}),
        ({"family": "iwae", "sigma": 0.1}, {"kl", "kl_per_dim"}),
        (
            {"family": "betatc", "sigma": 0.1},
            {"kl", "kl_per_dim", "mutual_information", "total_correlation", "dimension_kl"},
        ),
        ({"family": "wae"}, {"mmd"}),
    ],
)
def test_it_learns(digits, settings_, terms):
    model, history = trained(digits, latent_dim=8, **settings_)
    assert set(history.arrays()) == terms | {"loss", "reconstruction", "gradient_norm"}
    reconstruction = history.terms["reconstruction"]
    assert reconstruction[-10:].mean() < 0.4 * reconstruction[:3].mean()
    assert unexplained(model, digits.test.images.float() / 255) < 0.5

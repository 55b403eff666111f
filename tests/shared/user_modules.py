"""A module of a user with models of every form, and what latentbench makes of them."""

import sys

import pytest

from latentbench.data.errors import LatentbenchError
from latentbench.models import zoo
from latentbench.models.resolver import Resolver
from latentbench.models.training.recipe import Recipe

MODULE = """
    import torch
    from torch import nn
    from latentbench.models.protocols import Posterior

    class Plain(nn.Module):
        def __init__(self, latent=3):
            super().__init__()
            self.down, self.up = nn.Linear(64, latent), nn.Linear(latent, 64)

        def encode(self, x):
            return self.down(x.flatten(1))

        def decode(self, z):
            return self.up(z).sigmoid().unflatten(1, (1, 8, 8))

        @classmethod
        def wide(cls):
            return cls(12)

    class Pair(Plain):
        def encode(self, x):
            mean = super().encode(x)
            return mean, torch.full_like(mean, -2.0)

    class Grid(Plain):
        def encode(self, x):
            return super().encode(x).unflatten(1, (3, 1, 1)).expand(-1, -1, 2, 2)

        def decode(self, z):
            return super().decode(z.mean((2, 3)))

    class Tokens(Plain):
        def encode(self, x):
            return super().encode(x).unflatten(1, (1, 3)).expand(-1, 5, -1)

        def decode(self, z):
            return super().decode(z.mean(1))

    class Returned:
        def __init__(self, **fields):
            vars(self).update(fields)

    class LatentDist(Grid):
        def encode(self, x):
            mean = super().encode(x)
            return Returned(latent_dist=Returned(mean=mean, logvar=torch.full_like(mean, -2.0)))

        def decode(self, z):
            return Returned(sample=super().decode(z))

    class Latents(Grid):
        def encode(self, x):
            return Returned(latents=super().encode(x))

    class Latent(Grid):
        def encode(self, x):
            return Returned(latent=super().encode(x))

    class Ours(Pair):
        def encode(self, x):
            return Posterior(*super().encode(x))

    class Tied(Plain):
        def __init__(self):
            super().__init__(64)
            self.up.weight = self.down.weight

    class Noisy(Plain):
        def encode(self, x):
            return nn.functional.dropout(super().encode(x), training=self.training)

    class Nothing(nn.Module):
        def encode(self, x):
            return x.flatten(1)

        def decode(self, z):
            return z.unflatten(1, (1, 8, 8))

    class Uncopyable(Plain):
        def __init__(self):
            super().__init__()
            self.stream = (value for value in ())

    class Towers(nn.Module):
        def __init__(self, scale=1.0):
            super().__init__()
            self.image, self.scale = nn.Linear(64, 5), scale

        def encode_image(self, x):
            return self.scale * nn.functional.normalize(self.image(x.flatten(1)), dim=1)

        def encode_text(self, captions):
            lengths = torch.tensor([[float(len(caption)), 1, 2, 3, 4] for caption in captions])
            return nn.functional.normalize(lengths, dim=1)
"""


def spec_of(target, **settings):
    return zoo.model_spec(**{"import": target, **settings})


def resolved(target, data, folder, *, allow_pickle=False, **settings):
    return zoo.resolve(spec_of(target, **settings), data, Resolver(folder, allow_pickle))


def loaded(spec, data, seed=0):
    return zoo.train_or_load(zoo.Training(spec, Recipe(), seed), data)


def refusal(target, data, folder, **settings):
    with pytest.raises(LatentbenchError) as caught:
        resolved(target, data, folder, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def module(name):
    return sys.modules[name]

"""Small models of every family, their draws, and what their losses are compared with."""

import torch
from torch.distributions import Independent, Normal

from latentbench.data.images import ImageData, Split
from latentbench.models.training.engine import TrainingStep
from latentbench.models.training.recipe import Recipe
from latentbench.models.zoo import FAMILIES, model_spec

CPU = torch.device("cpu")
EXAMPLES = 1000
SHAPE = (1, 8, 8)


def build(image_shape=(1, 28, 28), **spec):
    torch.manual_seed(0)
    return FAMILIES[spec["family"]].build(model_spec(**spec), image_shape)


def small(image_shape=SHAPE, **spec):
    return build(image_shape, hidden=32, **spec)


def step_for(model, count, seed=0):
    noise = torch.Generator().manual_seed(seed)
    draws = {name: draw.sample(noise) for name, draw in model.draws(count).items()}
    return TrainingStep((torch.empty(0),), draws, progress=torch.tensor(1.0), examples=EXAMPLES)


def images(count=6, shape=SHAPE, seed=1):
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed))


def values(terms):
    return {name: term.item() for name, term in terms.items() if term.ndim == 0}


def summed_squares(a, b):
    """The mean over a batch of squared errors, pixel by pixel."""
    return sum((p - q) ** 2 for p, q in zip(a.flatten().tolist(), b.flatten().tolist(), strict=True)) / len(a)


def latent(model, x, noise):
    """q(z | x), and the codes that `noise` draws from it."""
    posterior = model.encode(x)
    q = Independent(Normal(posterior.mean, posterior.log_var.exp().sqrt()), 1)
    return q, q.base_dist.loc + q.base_dist.scale * noise


def prior(dims):
    return Independent(Normal(torch.zeros(dims), torch.ones(dims)), 1)


def trained(data, **spec):
    model = small(**spec)
    recipe = Recipe(epochs=30, batch_size=64, learning_rate=1e-2)
    history = model.fit(data, recipe, seed=0, device=CPU, progress=lambda *_: None)
    return model, history


def unexplained(model, x):
    """Squared error as a share of that of the mean image."""
    with torch.no_grad():
        error = (x - model.decode(model.encode(x).mean)).square().sum()
    return (error / (x - x.mean(0)).square().sum()).item()


def noise_data(count=300, shape=(1, 12, 12), rank=20):
    """Images of known low rank, so that the leading components are well apart."""
    generator = torch.Generator().manual_seed(0)
    channels, side, _ = shape
    scores = torch.randn(count, rank, generator=generator) * torch.linspace(3, 0.5, rank)
    pixels = scores @ torch.randn(rank, channels * side * side, generator=generator)
    images = (128 + 8 * pixels).clamp(0, 255).to(torch.uint8).view(count, *shape)
    return ImageData("noise", Split(images, None), Split(images[:10], None), ())


def terms_of(model, x, seed=0):
    """The objective's terms on float images `x`, and the draws behind them."""
    noise = torch.Generator().manual_seed(seed)
    draws = {name: draw.sample(noise) for name, draw in model.draws(len(x)).items()}
    step = TrainingStep((torch.empty(0),), draws, progress=torch.tensor(1.0), examples=1000)
    return model.loss(x, step), draws

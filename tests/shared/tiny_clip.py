"""A very small open_clip architecture, and its weights as a pretrained model of a suite."""

from latentbench.models import zoo
from latentbench.models.resolver import Resolver
from latentbench.models.training.recipe import Recipe

TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "patch_size": 16, "width": 32, "layers": 1, "head_width": 16},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


def resolved(data, folder, *, allow_pickle=False, **source):
    settings = {"model": "tiny.json", "checkpoint": "tiny.safetensors", **source}
    settings = {name: value for name, value in settings.items() if value is not None}
    spec = zoo.model_spec(family="clip", pretrained=settings)
    return zoo.resolve(spec, data, Resolver(folder, allow_pickle))


def loaded(spec, data):
    return zoo.train_or_load(zoo.Training(spec, Recipe(), 0), data)

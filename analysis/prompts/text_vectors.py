"""The vectors of texts, encoded once for each model and set of texts.

A thousand classes in eighty templates are 80,000 texts. A model that is known by its content
gets them from the cache, so that data sets with the same prompts, and runs, share them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from latentbench.data.errors import LatentbenchError
from latentbench.data.storage.cache import cache_root, read_sealed, write_sealed
from latentbench.models.protocols import ImageTextModel, KnownContent


@torch.inference_mode()
def text_vectors(model: ImageTextModel, texts: Sequence[str], device: torch.device) -> Tensor:
    """Encode texts as vectors `[N, D]`, float32 on the CPU."""
    if not isinstance(model, KnownContent):
        return model.encode_text(list(texts)).float().cpu()
    key = hashlib.sha256(f"{model.content} {torch.__version__} {device.type}".encode())
    key.update(model.tokens(list(texts)).numpy().tobytes())
    path = cache_root() / "texts" / f"{key.hexdigest()[:32]}.sealed"
    try:
        return safetensors.torch.load(read_sealed(path))["vectors"]
    except (LatentbenchError, SafetensorError, KeyError):
        vectors = model.encode_text(list(texts)).float().cpu()
        write_sealed(path, safetensors.torch.save({"vectors": vectors}))
        return vectors

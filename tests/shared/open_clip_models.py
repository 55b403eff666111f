"""Small open_clip models with random weights, in a folder as open_clip pushes them to the hub."""

import json
from pathlib import Path

import open_clip
import safetensors.torch
import torch

VISION = {"image_size": 32, "patch_size": 16, "width": 32, "layers": 1, "head_width": 16}
TEXT = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
TINY = {"embed_dim": 16, "vision_cfg": VISION, "text_cfg": TEXT}


def save_model(folder: Path, architecture=TINY, preprocessing=None, seed=0) -> Path:
    """Write a model into a folder; `local-dir:FOLDER` is then its name."""
    config = {"model_cfg": architecture, "preprocess_cfg": preprocessing or {}}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(seed)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False, pretrained_text=False)
    safetensors.torch.save_model(model, folder / "open_clip_model.safetensors")
    return folder

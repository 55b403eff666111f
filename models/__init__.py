"""The zoo: specs, families, backbones, objectives, the training engine, checkpoints."""

"""Zero-shot classification: compositional, by a model's own prompts, and its controls."""

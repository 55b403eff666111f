"""Training: the engine, stacks of models, recipes, histories, and the terms of objectives, such as the KL."""

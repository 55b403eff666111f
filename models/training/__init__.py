"""Training: the engine, stacks of models, recipes, histories and objectives."""

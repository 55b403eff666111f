"""Zero-shot classification by image-text models, with prompts and class names of the data."""

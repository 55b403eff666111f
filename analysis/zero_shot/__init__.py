"""Zero-shot classification of combinations of attributes by towers trained here, and its controls."""

"""The shared parts of all figures: style, labels, and the summary of seeds."""

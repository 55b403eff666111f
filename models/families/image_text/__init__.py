"""Image–text models."""

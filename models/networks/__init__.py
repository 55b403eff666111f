"""Networks that the families are built from."""

"""Published rows of tables, and whether a measurement reproduces them."""

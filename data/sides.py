"""The sides of square images, in pixels: here, a command that only checks them starts without torch."""

SMALLEST_SIDE, LARGEST_SIDE = 8, 1024

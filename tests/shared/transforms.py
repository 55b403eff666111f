"""Transforms that processes of a pool can import."""

import os
import time

from PIL import Image

from latentbench.data.reading.transform import Transform


class Slow(Transform):
    """Takes a while, and colours an image by the process that it is scaled in."""

    def __call__(self, image):
        time.sleep(0.02)
        red = image.getpixel((0, 0))[0]
        return Image.new("RGB", (8, 8), (red, os.getpid() // 256 % 256, os.getpid() % 256))

"""Fashion-MNIST, from Debian's package if it is installed, else through torchvision.

Source: Xiao, Rasul and Vollgraf 2017, https://github.com/zalandoresearch/fashion-mnist (MIT).
"""

from __future__ import annotations

from pathlib import Path

from latentbench.data.images import ImageData, Split
from latentbench.data.sources.named_sets.catalogue import dataset
from latentbench.data.sources.named_sets.class_names import GARMENTS
from latentbench.data.sources.named_sets.idx import read_images_and_labels
from latentbench.data.sources.named_sets.torchvision_sets import mnist_like

# `apt install dataset-fashion-mnist` puts the published files here.
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")


@dataset(
    "fashion-mnist",
    "clothes, 28x28 grey, 60,000 train and 10,000 test; Debian's dataset-fashion-mnist or downloaded",
)
def fashion_mnist() -> ImageData:
    """Load Fashion-MNIST: 28x28 grey, ten kinds of clothing, 60,000 train and 10,000 test."""
    if not DEBIAN_FOLDER.is_dir():
        return mnist_like("fashion-mnist", "FashionMNIST", GARMENTS)
    train, test = (Split(*read_images_and_labels(DEBIAN_FOLDER, prefix)) for prefix in ("train", "t10k"))
    return ImageData("fashion-mnist", train, test, GARMENTS)

"""MNIST, complete, from the files in this package: nothing is downloaded.

Source: LeCun, Cortes and Burges, http://yann.lecun.com/exdb/mnist/ (CC BY-SA 3.0; see
`mnist_files/NOTICE.md`).
"""

from __future__ import annotations

from importlib.resources import files

from latentbench.data.images import ImageData, Split
from latentbench.data.sources.named_sets.catalogue import dataset
from latentbench.data.sources.named_sets.class_names import DIGITS
from latentbench.data.sources.named_sets.idx import read_images_and_labels

# MD5 sums of the uncompressed files, as published everywhere.
MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


@dataset("mnist", "handwritten digits, 28x28 grey, 60,000 train and 10,000 test; bundled")
def mnist() -> ImageData:
    """Load MNIST: 28x28 grey, white ink on black, classes `"0"` to `"9"`, 60,000 train and 10,000 test."""
    folder = files("latentbench.data") / "mnist_files"
    train, test = (Split(*read_images_and_labels(folder, prefix, sums=MD5)) for prefix in ("train", "t10k"))
    return ImageData("mnist", train, test, DIGITS)

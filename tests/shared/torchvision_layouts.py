"""Small copies of torchvision's data sets in the layouts in which they are published, for real readers.

Where torchvision insists on the sums of the published files, they are set to those of the small ones.
"""

import hashlib
import json
import pickle
import struct
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat
from torchvision import datasets

LABELS = (1, 0, 1, 0, 0)


def noise(shape=(32, 32, 3)):
    return np.random.default_rng(0).integers(0, 256, (len(LABELS), *shape), dtype=np.uint8)


def picture(seed, kind="JPEG", size=(40, 30)):
    """A file whose colours depend on the seed, larger and less regular than it will be read."""
    draws = np.random.default_rng(seed)
    ramp = np.linspace(0, 150, size[0])[None, :, None] * draws.random(3)
    stored = BytesIO()
    Image.fromarray((ramp + draws.integers(0, 100, (size[1], size[0], 3))).astype(np.uint8)).save(
        stored, kind
    )
    return stored.getvalue()


def write(file: Path, content: bytes | str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def md5(file: Path) -> str:
    return hashlib.md5(file.read_bytes()).hexdigest()


def idx(values: np.ndarray) -> bytes:
    return bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def folders(root, names, *, suffix="jpg", kind="JPEG"):
    """Two images in the first class folder, and one in each other."""
    for number, name in enumerate([names[0], *names]):
        write(root / name / f"image_{number:04d}.{suffix}", picture(number, kind))


def mnist(root, monkeypatch):
    write(root / "MNIST/raw/t10k-images-idx3-ubyte", idx(noise(shape=(28, 28))))
    write(root / "MNIST/raw/t10k-labels-idx1-ubyte", idx(np.array(LABELS, np.uint8)))
    for part in ("images-idx3", "labels-idx1"):
        write(root / f"MNIST/raw/train-{part}-ubyte", b"")


def svhn(root, monkeypatch):
    (root / "SVHN").mkdir()
    file = root / "SVHN/test_32x32.mat"
    savemat(file, {"X": noise().transpose(1, 2, 3, 0), "y": np.array([10, 1, 9, 2, 10], np.uint8)[:, None]})
    monkeypatch.setattr(datasets.SVHN, "split_list", {"test": ["", file.name, md5(file)]})


def cifar(kind, folder, test, names, root, monkeypatch):
    def part(name, content):
        file = write(root / folder / name, pickle.dumps(content, protocol=2))
        return [name, md5(file)]

    key = "labels" if kind is datasets.CIFAR10 else "fine_labels"
    listed = [part(test, {"data": noise(shape=(3 * 32 * 32,)), key: list(LABELS)})]
    meta = part(kind.meta["filename"], {kind.meta["key"]: names})
    monkeypatch.setattr(kind, "train_list", [])
    monkeypatch.setattr(kind, "test_list", listed)
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": meta[1]})


def cifar10(root, monkeypatch):
    cifar(
        datasets.CIFAR10, "cifar-10-batches-py", "test_batch", ["airplane", "automobile"], root, monkeypatch
    )


def cifar100(root, monkeypatch):
    cifar(datasets.CIFAR100, "cifar-100-python", "test", ["apple", "aquarium_fish"], root, monkeypatch)


def stl10(root, monkeypatch):
    folder = root / "stl10_binary"
    listed = [
        [file.name, md5(file)]
        for file in (
            write(folder / "test_X.bin", noise(shape=(3, 96, 96)).tobytes()),
            write(folder / "test_y.bin", bytes(label + 1 for label in LABELS)),
        )
    ]
    write(folder / "class_names.txt", "airplane\nbird\n")
    monkeypatch.setattr(datasets.STL10, "train_list", [])
    monkeypatch.setattr(datasets.STL10, "test_list", listed)


def food101(root, monkeypatch):
    dishes = {"apple_pie": ["apple_pie/1", "apple_pie/2"], "baby_back_ribs": ["baby_back_ribs/7"]}
    write(root / "food-101/meta/test.json", json.dumps(dishes))
    for number, name in enumerate(name for names in dishes.values() for name in names):
        write(root / f"food-101/images/{name}.jpg", picture(number))


def flowers(root, monkeypatch):
    folder = root / "flowers-102"
    for number in (1, 2, 3):
        write(folder / f"jpg/image_{number:05d}.jpg", picture(number))
    savemat(folder / "imagelabels.mat", {"labels": np.array([[77, 102, 1]])})
    savemat(folder / "setid.mat", {"trnid": [[2]], "valid": [[2]], "tstid": [[3, 1]]})
    names = {"image": "102flowers.tgz", "label": "imagelabels.mat", "setid": "setid.mat"}
    sums = {key: (name, md5(folder / name) if key != "image" else "") for key, name in names.items()}
    monkeypatch.setattr(datasets.Flowers102, "_file_dict", sums)


def pets(root, monkeypatch):
    lines = ["Abyssinian_201 1 1 1", "american_bulldog_100 2 2 1", "Abyssinian_202 1 1 1"]
    write(root / "oxford-iiit-pet/annotations/test.txt", "\n".join(lines))
    for number, line in enumerate(lines):
        write(root / f"oxford-iiit-pet/images/{line.split()[0]}.jpg", picture(number))


def dtd(root, monkeypatch):
    names = ["banded/banded_0002.jpg", "polka-dotted/polka_0201.jpg", "banded/banded_0005.jpg"]
    write(root / "dtd/dtd/labels/test1.txt", "\n".join(names))
    for number, name in enumerate(names):
        write(root / "dtd/dtd/images" / name, picture(number))


LAND_USES = (
    *("AnnualCrop", "Forest", "HerbaceousVegetation", "Highway", "Industrial", "Pasture", "PermanentCrop"),
    *("Residential", "River", "SeaLake"),
)


def eurosat(root, monkeypatch):
    folders(root / "eurosat/2750", LAND_USES)


def gtsrb(root, monkeypatch):
    lines = ["Filename;Width;ClassId", "00000.ppm;53;16", "00001.ppm;42;42", "00002.ppm;42;0"]
    write(root / "gtsrb/GT-final_test.csv", "\n".join(lines))
    for number in range(3):
        write(root / f"gtsrb/GTSRB/Final_Test/Images/{number:05d}.ppm", picture(number, "PPM"))


def fgvc_aircraft(root, monkeypatch):
    data = root / "fgvc-aircraft-2013b/data"
    write(data / "variants.txt", "707-320\nF/A-18\n")
    write(data / "images_variant_test.txt", "1514522 F/A-18\n0747566 707-320\n")
    for number, name in enumerate(("1514522", "0747566")):
        write(data / f"images/{name}.jpg", picture(number))


def country211(root, monkeypatch):
    folders(root / "country211/test", [f"{number:03d}" for number in range(211)])


def renderedsst2(root, monkeypatch):
    folders(root / "rendered-sst2/test", ["negative", "positive"], suffix="png", kind="PNG")


def pcam(root, monkeypatch):
    import h5py

    (root / "pcam").mkdir()
    for part, key, values in (("x", "x", noise(shape=(96, 96, 3))), ("y", "y", np.array(LABELS))):
        with h5py.File(root / f"pcam/camelyonpatch_level_2_split_test_{part}.h5", "w") as file:
            file[key] = values if part == "x" else values.reshape(-1, 1, 1, 1)


def cars(root, monkeypatch):
    folder = root / "stanford_cars"
    (folder / "devkit").mkdir(parents=True)
    kinds = [("fname", object), ("class", object)]
    rows = np.array([("00001.jpg", 2), ("00002.jpg", 1), ("00003.jpg", 2)], dtype=kinds)
    savemat(folder / "cars_test_annos_withlabels.mat", {"annotations": rows})
    names = np.array(["AM General Hummer SUV 2000", "Ram C/V Cargo Van Minivan 2012"], dtype=object)
    savemat(folder / "devkit/cars_meta.mat", {"class_names": names})
    for number in (1, 2, 3):
        write(folder / f"cars_test/{number:05d}.jpg", picture(number))


def sun397(root, monkeypatch):
    write(root / "SUN397/ClassName.txt", "/a/abbey\n/a/apartment_building/outdoor\n")
    for number, name in enumerate(("abbey/sun_b", "apartment_building/outdoor/sun_a", "abbey/sun_a")):
        write(root / f"SUN397/a/{name}.jpg", picture(number))


def caltech101(root, monkeypatch):
    names = ["BACKGROUND_Google", *(f"kind_{number:03d}" for number in range(101))]
    for number, name in enumerate(names):
        write(root / f"caltech101/101_ObjectCategories/{name}/image_0001.jpg", picture(number))
    write(
        root / f"caltech101/101_ObjectCategories/{names[0]}/tmp", b""
    )  # the published set holds such a file


def fer2013(root, monkeypatch):
    folders(root / "fer2013/test", ["angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"])


LAYOUTS: dict[str, Callable] = {
    each.__name__: each
    for each in (
        *(mnist, svhn, cifar10, cifar100, stl10, food101, flowers, pets, dtd, eurosat, gtsrb, fgvc_aircraft),
        *(country211, renderedsst2, pcam, cars, sun397, caltech101, fer2013),
    )
}

"""torchvision's data sets with published class names and templates, as CLIP_benchmark builds them.

`published_sets.json` holds the templates, and the names where CLIP_benchmark does not use those of
torchvision's own class. Files are in the folder of `torchvision_sets.data_root`; torchvision's private
attributes are read because its classes tell labels and files only one image at a time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files as package_files
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType
from typing import Any

from latentbench.data.registry import Registry

TEST: Mapping[str, object] = MappingProxyType({"split": "test"})
NOT_TRAIN: Mapping[str, object] = MappingProxyType({"train": False})


@dataclass(frozen=True)
class PublishedSet:
    """One data set: `description` is the line for users, `kind` torchvision's class, with its `options`.

    `folder` is where the class looks for files, and `root` the folder that it is given, both below
    the root of all data. `labels` and `files` read its labels and its image files, None if they are not
    files. `adjust` changes an opened set where CLIP_benchmark does.
    """

    description: str
    kind: str
    folder: str
    options: Mapping[str, object]
    labels: Callable[[Any], Sequence[int]]
    files: Callable[[Any], Sequence[str | Path]] | None = None
    root: str = "."
    spaces_for: str = ""
    """The characters of the class's own names that are replaced by spaces."""
    downloads: bool = True
    """True if torchvision can download it."""
    adjust: Callable[[Any], Any] = field(default=lambda opened: opened)
    own_classes: int = 0
    """The number of classes where no names are published next to the templates."""

    def open(self, root: Path, *, download: bool) -> Any:
        """Return torchvision's own object for the test images. Raises any error of its parser or download."""
        from torchvision import datasets  # torchvision takes seconds to import

        options = {**self.options, **({"download": download} if self.downloads else {})}
        return self.adjust(getattr(datasets, self.kind)(root / self.root, **options))

    def own_names(self, opened: Any) -> tuple[str, ...]:
        """Return the class names that torchvision's class has; none if it has no names."""
        table = str.maketrans(dict.fromkeys(self.spaces_for, " "))
        return tuple(name.translate(table) for name in getattr(opened, "classes", ()))


@dataclass(frozen=True)
class Prompts:
    """The published templates of a set, and its class names; without any, they are the class's own."""

    templates: tuple[str, ...]
    classes: tuple[str, ...]


@cache
def published_prompts() -> Mapping[str, Prompts]:
    """Return the published templates and class names, by data set."""
    content = json.loads((package_files(__package__) / "published_sets.json").read_text(encoding="utf-8"))
    return {
        name: Prompts(tuple(each["templates"]), tuple(each.get("classes", ())))
        for name, each in content["sets"].items()
    }


Readers = tuple[Callable[[Any], Sequence[int]], Callable[[Any], Sequence[str | Path]]]
"""The readers of labels and files of a class."""
LISTED: Readers = (attrgetter("_labels"), attrgetter("_image_files"))


def _sampled(attribute: str) -> Readers:
    """Return the readers of a class that keeps a list of (file, label)."""
    return (
        lambda opened: [label for _, label in getattr(opened, attribute)],
        lambda opened: [file for file, _ in getattr(opened, attribute)],
    )


def _labels_of_pcam(opened: Any) -> list[int]:
    """Read all labels at once; the class opens both of its files for every single one."""
    name = opened._FILES[opened._split]["targets"][0]
    with opened.h5py.File(opened._base_folder / name) as file:
        labels: list[int] = file["y"][:, 0, 0, 0].tolist()
    return labels


CALTECH_IMAGES = "101_ObjectCategories"


def _with_background(opened: Any) -> Any:
    """Put back the class of background, which torchvision leaves out and CLIP_benchmark keeps."""
    folder = Path(opened.root) / CALTECH_IMAGES
    opened.classes = opened.categories = sorted(entry.name for entry in folder.iterdir())
    counts = [len(list((folder / category).glob("*.jpg"))) for category in opened.categories]
    opened.index = [number for count in counts for number in range(1, count + 1)]
    opened.y = [label for label, count in enumerate(counts) for _ in range(count)]
    return opened


def _files_of_caltech(opened: Any) -> list[Path]:
    folder = Path(opened.root) / CALTECH_IMAGES
    return [
        folder / opened.categories[label] / f"image_{number:04d}.jpg"
        for label, number in zip(opened.y, opened.index, strict=True)
    ]


PUBLISHED: Registry[PublishedSet] = Registry("torchvision data set")
for _name, _set in {
    "mnist": PublishedSet(
        "handwritten digits, 10,000", "MNIST", "MNIST/raw", NOT_TRAIN, attrgetter("targets")
    ),
    "svhn": PublishedSet("house numbers, 26,032", "SVHN", "SVHN", TEST, attrgetter("labels"), root="SVHN"),
    "cifar10": PublishedSet(
        "10 kinds of things, 10,000",
        "CIFAR10",
        "cifar-10-batches-py",
        NOT_TRAIN,
        attrgetter("targets"),
        own_classes=10,
    ),
    "cifar100": PublishedSet(
        "100 kinds of things, 10,000",
        "CIFAR100",
        "cifar-100-python",
        NOT_TRAIN,
        attrgetter("targets"),
        own_classes=100,
    ),
    "stl10": PublishedSet(
        "10 kinds of things, 8,000", "STL10", "stl10_binary", TEST, attrgetter("labels"), own_classes=10
    ),
    "food101": PublishedSet(
        "101 dishes, 25,250", "Food101", "food-101", TEST, *LISTED, spaces_for="_", own_classes=101
    ),
    "flowers": PublishedSet("102 flowers, 6,149", "Flowers102", "flowers-102", TEST, *LISTED),
    "pets": PublishedSet(
        "37 breeds of cats and dogs, 3,669",
        *("OxfordIIITPet", "oxford-iiit-pet", TEST),
        attrgetter("_labels"),
        attrgetter("_images"),
        own_classes=37,
    ),
    "dtd": PublishedSet("47 textures, 1,880", "DTD", "dtd", TEST, *LISTED, own_classes=47),
    "eurosat": PublishedSet("10 uses of land, all 27,000", "EuroSAT", "eurosat", {}, *_sampled("samples")),
    "gtsrb": PublishedSet("43 traffic signs, 12,630", "GTSRB", "gtsrb", TEST, *_sampled("_samples")),
    "fgvc_aircraft": PublishedSet(
        "100 aircraft, 3,333",
        *("FGVCAircraft", "fgvc-aircraft-2013b", {**TEST, "annotation_level": "variant"}),
        *LISTED,
        own_classes=100,
    ),
    "country211": PublishedSet(
        "211 countries, 21,100", "Country211", "country211", TEST, *_sampled("samples")
    ),
    "renderedsst2": PublishedSet(
        "good and bad reviews as images of text, 1,821",
        *("RenderedSST2", "rendered-sst2", TEST),
        *_sampled("_samples"),
        own_classes=2,
    ),
    "pcam": PublishedSet("lymph nodes, 32,768; needs h5py", "PCAM", "pcam", TEST, _labels_of_pcam),
    "cars": PublishedSet(
        "196 cars, 8,041; placed by hand",
        *("StanfordCars", "stanford_cars", TEST),
        *_sampled("_samples"),
        own_classes=196,
        downloads=False,
    ),
    "sun397": PublishedSet(
        "397 places, all 108,754", "SUN397", "SUN397", {}, *LISTED, spaces_for="_/", own_classes=397
    ),
    "caltech101": PublishedSet(
        "101 kinds of things and background, all 9,144",
        *("Caltech101", "caltech101", {}),
        attrgetter("y"),
        _files_of_caltech,
        adjust=_with_background,
    ),
    "fer2013": PublishedSet(
        "7 facial expressions, 7,178; placed by hand, in one folder per class",
        *("ImageFolder", "fer2013/test", {}),
        *_sampled("samples"),
        root="fer2013/test",
        downloads=False,
    ),
}.items():
    PUBLISHED.register(_name)(_set)

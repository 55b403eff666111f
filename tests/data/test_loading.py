import subprocess
import sys

import pytest

from latentbench.data import DataError, LatentbenchError, load
from latentbench.data.loading import DATASETS, DataRequest, parse


def test_every_data_set_has_a_one_line_description():
    assert next(iter(DATASETS)) == "mnist"
    assert {"fashion-mnist", "kmnist", "emnist-letters", "cifar10", "svhn", "digits"} < set(DATASETS)
    for name, entry in DATASETS.items():
        assert entry.name == name
        assert 20 < len(entry.description) < 100
        assert "\n" not in entry.description


def test_an_unknown_name_is_answered_with_the_nearest_one():
    with pytest.raises(
        LatentbenchError, match=r"'mnits'; did you mean 'mnist'\? Known: mnist, .*folder:PATH"
    ):
        load("mnits")


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("mnist", DataRequest("mnist", None, None)),
        ("digits?size=28", DataRequest("digits", None, 28)),
        ("mnist?size=32&channels=3", DataRequest("mnist", None, 32, 3)),
        ("folder:a?channels=1", DataRequest("folder", "a", None, 1)),
        ("folder:pets", DataRequest("folder", "pets", None)),
        ("folder:/a b/c?size=32", DataRequest("folder", "/a b/c", 32)),
        ("folder:/what?/pets", DataRequest("folder", "/what?/pets", None)),
        ("folder:/what?/pets?size=64", DataRequest("folder", "/what?/pets", 64)),
    ],
)
def test_data_strings(text, source):
    assert parse(text) == source


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("folder:", "no path after"),
        ("mnist?size=", "'size=' is not understood; allowed: .size=PIXELS"),
        ("mnist?size=-3", "not understood"),
        ("mnist?sise=28", "not understood"),
        ("mnist?size=²", "not understood"),
        ("mnist?size=8&size=9", "'size' is given twice"),
        ("mnist?channels=2", "channels must be 1 or 3, got 2"),
        ("mnist?size=" + "9" * 5000, "not understood"),
        ("mnist?size=7", "size must be 8 to 1024 px, got 7"),
        ("folder:/a?size=1025", "size must be 8 to 1024 px, got 1025"),
    ],
)
def test_data_strings_that_are_refused(text, message):
    with pytest.raises(DataError, match=message):
        parse(text)


def test_size_given_in_either_way_is_the_same_data():
    by_option, by_argument = load("digits?size=16"), load("digits", size=16)
    assert by_option.image_shape == (1, 16, 16)
    assert by_option.name == by_argument.name == "digits?size=16"
    assert by_option.fingerprint == by_argument.fingerprint
    assert load("digits?size=16", size=16).fingerprint == by_option.fingerprint
    with pytest.raises(DataError, match="size given twice, as 16 and as 12"):
        load("digits?size=16", size=12)
    with pytest.raises(DataError, match="8 to 1024 px, got 0"):
        load("digits", size=0)


def test_importing_the_package_does_not_import_torch():
    code = "import sys, latentbench.data; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_channels_given_in_either_way_are_the_same_data():
    by_option, by_argument = load("digits?size=16&channels=3"), load("digits?size=16", channels=3)
    assert by_option.image_shape == (3, 16, 16)
    assert by_option.name == by_argument.name == "digits?size=16&channels=3"
    assert load("digits", channels=3).name == "digits?channels=3"
    with pytest.raises(DataError, match="channels given twice, as 3 and as 1"):
        load("digits?channels=3", channels=1)

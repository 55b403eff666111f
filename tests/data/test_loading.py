import subprocess
import sys

import pytest

from latentbench.data import DataError, LatentbenchError, load
from latentbench.data.loading import DATASETS
from latentbench.data.request import parse as parse_among


def parse(data):
    return parse_among(data, list(DATASETS))


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
    ("text", "keys"),
    [
        ("mnist", {"name": "mnist"}),
        ("digits?size=28", {"name": "digits", "size": 28}),
        ("mnist?size=32&channels=3", {"name": "mnist", "size": 32, "channels": 3}),
        ("folder:a?channels=1", {"folder": "a", "channels": 1}),
        ("folder:pets", {"folder": "pets"}),
        ("folder:/a b/c?size=32", {"folder": "/a b/c", "size": 32}),
        ("folder:/what?/pets", {"folder": "/what?/pets"}),
        ("folder:/what?/pets?size=64", {"folder": "/what?/pets", "size": 64}),
        (
            "wds:s/{0..49}.tar?limit=9&resize=box",
            {"wds": "s/{0..49}.tar", "limit": 9, "resize": "box"},
        ),
        ("hf:owner/set?split=test&crop=none", {"hf": "owner/set", "split": "test", "crop": "none"}),
    ],
)
def test_data_strings_say_what_mappings_say(text, keys):
    request = parse(text)
    assert request == parse(keys) == parse(str(request))
    assert {name: value for name, value in request.model_dump().items() if name in keys} == keys


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("folder:", "folder is empty; give a path"),
        ("mnist?size=", "size must be a valid integer"),
        ("mnist?size=-3", "size must be a valid integer"),
        ("mnist?sise=28", "unknown option 'sise'; did you mean 'size'"),
        ("mnist?size=²", "size must be a valid integer"),
        ("mnist?size=8&size=9", "'size' is given twice"),
        ("mnist?channels=2", "channels must be 1 or 3, got 2"),
        ("mnist?size=" + "9" * 5000, "'size' is longer than 100 characters"),
        ("mnist?size=7", "size must be 8 to 1024 px, got 7"),
        ("folder:/a?size=1025", "size must be 8 to 1024 px, got 1025"),
        ({"folder": "a", "sise": 64}, "unknown key 'sise'; did you mean 'size'"),
        ({"folder": "a", "size": "big"}, "size must be a valid integer, got 'big'"),
        ({"folder": "a", "size": True}, "size must be a valid integer, got True"),
        ({"folder": "a", "limit": 0}, "limit must be greater than or equal to 1, got 0"),
        ({"folder": "a", "crop": "centre"}, "crop must be 'center' or 'none', got 'centre'"),
        ({"folder": "a", "wds": "b"}, "must have exactly one of name, folder, wds, hf"),
        ({"size": 64}, "must have exactly one of name, folder, wds, hf"),
        ({"name": "mnist", "crop": "none"}, "crop has no effect on mnist"),
        ({"name": "mnist", "split": "val"}, "split of mnist must be 'train' or 'test'"),
        ({"name": "captioned-mnist", "limit": 9}, "limit and split have no effect on captioned data"),
    ],
)
def test_requests_that_are_refused_in_one_line(data, message):
    with pytest.raises(DataError, match=message) as caught:
        load(data)
    assert len(str(caught.value)) < 400


def test_a_limit_and_a_split_of_named_data():
    data = load({"name": "digits", "limit": 20, "size": 16})
    assert (len(data.train), len(data.test)) == (20, 20)
    assert data.name == "digits?size=16&limit=20"
    assert load({"name": "digits", "split": "train"}).test_only


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

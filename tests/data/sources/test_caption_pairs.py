import json

import pytest

from latentbench.data import DataError, load

PAIRS = {
    "replace_obj": {
        "0": {"filename": "a.png", "caption": "a dog", "negative_caption": "a cat"},
        "7": {"filename": "b.png", "caption": "a red bus", "negative_caption": "a red car"},
    },
    "add_att": {"0": {"filename": "a.png", "caption": "a dog", "negative_caption": "a blue dog"}},
}


@pytest.fixture
def folder(tmp_path, write_image):
    write_image("pairs/val2017/a.png", (200, 0, 0))
    write_image("pairs/val2017/b.png", (0, 200, 0))
    for kind, pairs in PAIRS.items():
        (tmp_path / f"pairs/{kind}.json").write_text(json.dumps(pairs))
    return tmp_path / "pairs"


def test_each_image_is_read_once_and_pairs_name_it(folder):
    data = load("pairs:pairs?size=8", relative_to=folder.parent)
    assert [each.kind for each in data.pairs] == ["add_att", "replace_obj"]
    assert data.pairs[1].images == ("a.png", "b.png")
    assert data.pairs[1].negatives == ("a cat", "a red car")
    assert data.originals.names == ("a.png", "b.png")
    assert data.test.images[:, :, 0, 0].tolist() == [[200, 0, 0], [0, 200, 0]]
    assert data.test_only
    assert data.test.labels is None
    assert data.name == "pairs:pairs?size=8"
    assert data.captions == ("a dog", "a blue dog", "a red bus", "a cat", "a red car")


def test_images_may_lie_next_to_the_files(folder):
    (folder / "val2017/a.png").rename(folder / "a.png")
    assert load(f"pairs:{folder}?size=8").unreadable == ()


def test_an_image_that_is_not_there_is_counted_and_named(folder):
    (folder / "val2017/b.png").unlink()
    data = load(f"pairs:{folder}?size=8")
    assert data.unreadable == ("b.png",)
    assert len(data.test) == 2
    assert "1 of 2 images that the pairs name are not there: b.png" in data.notes


def test_a_limit_keeps_the_pairs_of_the_images_it_keeps(folder):
    data = load(f"pairs:{folder}?size=8&limit=1")
    (name,) = data.originals.names
    assert [each.images for each in data.pairs] in ([("a.png",), ("a.png",)], [(), ("b.png",)])
    assert {image for each in data.pairs for image in each.images} == {name}


def test_other_words_are_other_data(folder):
    first = load(f"pairs:{folder}?size=8").fingerprint
    file = folder / "add_att.json"
    file.write_text(file.read_text().replace("a blue dog", "a green dog"))
    assert load(f"pairs:{folder}?size=8").fingerprint != first


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "{}",
            r"add_att\.json: holds no pairs; it must be one object of objects with the keys filename",
        ),
        ("[1]", r"add_att\.json: is not in the format of SugarCrepe; it must be one object"),
        ("{", r"add_att\.json: is not JSON \(.*line 1"),
        ('{"0": "a dog"}', r"add_att\.json, entry '0': must be an object with the keys filename"),
        (
            '{"0": {"filename": "a.png", "caption": "x"}}',
            r"entry '0': the key 'negative_caption' is missing",
        ),
        (
            '{"0": {"filename": "a.png", "caption": "x", "negative_caption": ""}}',
            r"entry '0': negative_caption .*at least 1 character",
        ),
        (
            '{"0": {"filename": 7, "caption": "x", "negative_caption": "y"}}',
            r"entry '0': filename must be a valid string, got 7",
        ),
        (
            '{"0": {"filename": "../a.png", "caption": "x", "negative_caption": "y"}}',
            r"entry '0': filename '\.\./a\.png' must be a path inside the folder",
        ),
    ],
)
def test_a_file_in_another_format_is_one_clear_line(folder, content, message):
    (folder / "add_att.json").write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        load(f"pairs:{folder}")
    assert "\n" not in str(caught.value)


def test_a_folder_without_pairs_or_images_is_refused(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: no file of pairs; put files such as replace_obj\.json"):
        load(f"pairs:{tmp_path / 'empty'}")
    for name in ("a", "b"):
        (folder / f"val2017/{name}.png").unlink()
    with pytest.raises(DataError, match=r"none of the 2 images that the pairs name is in it.*a\.png, b\.png"):
        load(f"pairs:{folder}")
    with pytest.raises(DataError, match="split must be 'test', got 'train'"):
        load(f"pairs:{folder}?split=train")


def test_a_file_name_that_no_metric_can_have_is_refused(folder):
    (folder / "add_att.json").rename(folder / "add (att).json")
    with pytest.raises(DataError, match=r"add \(att\)\.json: the name of a file of pairs must have"):
        load(f"pairs:{folder}")

"""The names of class folders: which line names which folder, and which lists are refused."""

import pytest

from latentbench.data import DataError
from latentbench.data.sources.class_names import prompts_of, read_class_names, read_templates


@pytest.fixture
def names_in(tmp_path):
    def read(text: str, *folders: str):
        (tmp_path / "classes.txt").write_text(text, encoding="utf-8")
        return read_class_names(tmp_path / "classes.txt", folders)

    return read


def test_a_misspelt_folder_is_never_taken_as_a_name(names_in):
    with pytest.raises(DataError, match=r"no class folder is called 'n2'; did you mean 'n02'\?"):
        names_in("n2: blue\nn01: red\n", "n01", "n02")
    with pytest.raises(DataError, match=r"no class folder is called 'DOG'; did you mean 'dog'\?"):
        names_in("DOG: a dog\n", "dog")
    with pytest.raises(DataError, match=r"'blue thing' names no folder; .*Every line is FOLDER: NAME"):
        names_in("n01: red\nblue thing\n", "n01", "n02")


def test_plain_names_may_hold_colons(names_in):
    text = "Alien: Resurrection\nAliens\n"
    assert names_in(text, "m1", "m2").names == ("Alien: Resurrection", "Aliens")
    assert names_in("Alien: one\nStar Wars: two\n", "m1", "m2").names == ("Alien: one", "Star Wars: two")


def test_only_a_pairing_by_order_is_noted(names_in):
    assert names_in("n02: b\nn01: a\n", "n01", "n02").notes == ()
    (note,) = names_in("a\nb\n", "n01", "n02").notes
    assert note.endswith("n01 = a, n02 = b")
    (note,) = names_in("\n".join("abcdefghijklmnop"), *(f"n{i}" for i in range(16))).notes
    assert note.endswith("n10 = k, …, n15 = p")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n \n", "no classes; write one name per line"),
        ("one\ntwo\nthree\n", r"3 names for 2 class folders \(n01, n02, …\)"),
        ("n01: a\nn01: b\n", "the folder 'n01' is named twice"),
        ("n01: a\n", "no name for the class folder 'n02'"),
        ("n01: a\nn02:\n", "no name for the class folder 'n02'"),
        ("n02\nn01\n", "are those of the class folders in another order: name 1 is 'n02', .* is 'n01'"),
    ],
)
def test_unclear_lists_are_refused(names_in, text, message):
    with pytest.raises(DataError, match=message):
        names_in(text, "n01", "n02")


def test_names_of_the_folders_in_another_order_are_refused(names_in):
    """Lines sorted as text, 10 before 2, or alphabetically in another language."""
    folders = [f"lot_{number}" for number in range(11)]
    assert names_in("\n".join(name.replace("_", " ") for name in folders), *folders).names[10] == "lot 10"
    with pytest.raises(DataError, match="name 3 is 'Lot 10', and the folder is 'lot_2'; write them"):
        names_in("\n".join(name.replace("lot_", "Lot ") for name in sorted(folders)), *folders)
    assert names_in("ant\ncow\n", "ant", "bee").names == ("ant", "cow")


def test_names_in_utf16_with_a_mark_are_read(tmp_path):
    for encoding in ("utf-8-sig", "utf-16", "utf-32"):
        (tmp_path / "classes.txt").write_text("Café\nRösti\n", encoding=encoding)
        assert read_class_names(tmp_path / "classes.txt", ["a", "b"]).names == ("Café", "Rösti")


def test_names_in_latin1_are_one_clear_error(tmp_path):
    (tmp_path / "classes.txt").write_text("Rosti\nCafé\n", encoding="latin-1")
    with pytest.raises(DataError, match=r"classes\.txt, line 2: byte 0xe9 is not UTF-8 text; save"):
        read_class_names(tmp_path / "classes.txt", ["a", "b"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a photo\n", r"line 1: 'a photo' needs exactly one \{\}"),
        ("a {}\n{} and {}\n", r"line 2: '\{\} and \{\}' needs exactly one"),
        ("a {name}\n", r"'a \{name\}' needs exactly one"),
        ("\n", "no templates"),
    ],
)
def test_templates_without_a_place_are_refused(tmp_path, text, message):
    (tmp_path / "templates.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        read_templates(tmp_path / "templates.txt")


def test_classes_of_one_name_get_equal_prompts():
    assert prompts_of(("crane", "crane"), ("a {}",)) == (("a crane", "a crane"),)


@pytest.mark.parametrize(
    ("names", "templates", "message"),
    [
        ((), ("a {}",), "no classes"),
        (("cat", ""), ("a {}",), "a class has no name"),
        (("cat",), (), "no templates"),
        (("cat",), ("a cat",), r"needs exactly one \{\}"),
    ],
)
def test_prompts_need_names_and_places_for_them(names, templates, message):
    with pytest.raises(DataError, match=message):
        prompts_of(names, templates)

"""YAML is read with the numbers of YAML 1.2, and every mistake is one line."""

import pytest

from latentbench.data.errors import LatentbenchError
from latentbench.data.text.yaml_text import parse_yaml


def test_numbers_are_those_of_yaml_1_2():
    given = "[1e-3, 1e2, 2E+1, 1.5, -.5, 3, -7, 1., .inf, '1e-3', 1.2.3, e5]"
    expected = [0.001, 100.0, 20.0, 1.5, -0.5, 3, -7, 1.0, float("inf"), "1e-3", "1.2.3", "e5"]
    found = parse_yaml(given, "x.yaml")
    assert found == expected
    assert list(map(type, found)) == list(map(type, expected))


def test_aliases_and_merges_are_allowed():
    assert parse_yaml("{a: &r {x: 1}, b: *r, c: {<<: *r, y: 2}}", "x.yaml")["c"] == {"x": 1, "y": 2}


BOMB = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", r"^x\.yaml: not YAML: the key 'a' is given twice \(line 3\)$"),
        ("a: {b: 1, b: 2}", r"the key 'b' is given twice \(line 1\)"),
        (BOMB, r"^x\.yaml: holds more than 200,000 values"),
        ("&a [*a]", "an alias stands inside the value that it names"),
        ("[" * 5000 + "]" * 5000, "is nested more than 50 levels deep"),
        ("a: " + "9" * 5000, r"a number of 5,000 digits; 100 are the most \(line 1\)"),
        ("a: !!python/object/apply:os.system [ls]", "not YAML: could not determine a constructor"),
        ("models: [", r"^x\.yaml: not YAML: .*\(line 1\)"),
        ("a: \x00", "not YAML"),
    ],
)
def test_faulty_yaml_is_an_error_of_one_line(text, message):
    with pytest.raises(LatentbenchError, match=message) as caught:
        parse_yaml(text, "x.yaml")
    assert "\n" not in str(caught.value)

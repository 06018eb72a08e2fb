import pytest

from gramtune.errors import SpecError
from gramtune.space.yaml_reader import parse_value, read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        (".5", 0.5),
        ("-2", -2),
        ("no", "no"),
        ("2024-99-99", "2024-99-99"),
        ("1:30", "1:30"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text, value):
    # PyYAML alone reads 1e-3 as a string, `no` as False, 1:30 as 90 and dies on 2024-99-99
    assert parse_value(text) == value
    assert type(parse_value(text)) is type(value)


def test_every_key_and_entry_has_its_line(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("a: 1\nb:\n  c:\n    - x\n    - {d: 2}\n")
    document = read_yaml(file)
    assert document.where(("b", "c", 1, "d")) == f"{file}:5"
    assert document.where(("b", "c", 0)) == f"{file}:4"
    assert document.where(("b", "c", 1, "unknown")) == f"{file}:5"


BOMB = b"".join(f"{chr(i + 1)}: &{chr(i + 1)} [*{chr(i)}, *{chr(i)}]\n".encode() for i in range(ord("b"), ord("z")))
"""Each list holds the one before it twice."""


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (b"a: [1\nb: 2\n", 2, "not YAML"),
        (b"a: 1\nb: 2\na: 3\n", 3, "key 'a' is given twice"),
        (b"- 1\n", 1, "should be a mapping"),
        (b"", 1, "should be a mapping"),
        (b"a: 1\nb: \xff\n", 2, "cannot be read: byte 0xff is not UTF-8"),
        (b"a: 1\nb: \x07\n", 2, "special characters are not allowed"),
        (b"a: 1\nb: !!bool maybe\n", 2, "'maybe' is not a legal value of type bool"),
        (b"a: 1\nb: " + b"9" * 5000, 2, "is not a legal value of type int"),
        (b"a: 1\n? [b]\n: 2\n", 2, "a key should be text"),
        ("a: 'x\u2028y'\n\nb: !mine 2".encode(), 3, "could not determine a constructor"),
        (b"a: [1\n", 1, "not YAML"),
        (b"a: &a [1, 2]\nb: &b [*a, *a]\n" + BOMB, 14, "more than 64,000 entries"),
        (b"a: " + b"1" * 300_000, None, "is larger than 64,000 bytes"),
        (b"a: &x [*x]\n", 1, "not YAML"),
        (b"a: " + b"[" * 5000, 1, "not YAML"),
        (b"a: !!python/object:os.system {}\n", 1, "not YAML"),
        (b"a: \t1\n\tb: 2", 1, "not YAML"),
    ],
)
def test_bad_files_give_one_line_with_the_place(tmp_path, content, line, message):
    file = tmp_path / "bad ü.yaml"
    file.write_bytes(content)
    with pytest.raises(SpecError) as caught:
        read_yaml(file)
    (issue,) = caught.value.issues
    assert message in issue.message
    assert "\n" not in str(issue)
    assert issue.where == (f"{file}:{line}" if line else str(file))
    assert len(issue.message) < 700


def test_a_missing_file_names_what_is_there(tmp_path):
    (tmp_path / "there.yaml").write_text("a: 1")
    with pytest.raises(SpecError, match=r"does not exist; .* holds there\.yaml"):
        read_yaml(tmp_path / "nope.yaml")

"""One reader for lists and tables, whatever program wrote them."""

import numpy as np
import pytest

from fiqa_lib.data.tables import find_delimiter, numbers, read_lines, read_table
from fiqa_lib.errors import DataError

NAMES = ["anna/1.jpg", "björn/2 b.jpg", "ċ/ਊ.jpg", "last.jpg"]  # the third has bytes 0A inside UTF-16 characters


def put(tmp_path, data, name="list.txt"):
    (tmp_path / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    return tmp_path / name


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", ["", "\n", "\n\n  \n"])
def test_every_encoding_and_line_end_gives_the_same_lines(tmp_path, encoding, end, last):
    mark = "\ufeff" if encoding[-2:] in ("le", "be") else ""
    path = put(tmp_path, (mark + end.join(NAMES) + last.replace("\n", end)).encode(encoding))
    assert list(read_lines(path)) == list(enumerate(NAMES, start=1))
    # from any offset that was yielded, the rest is read
    offsets = [offset for offset, _ in read_lines(path, offsets=True)]
    for place, offset in enumerate(offsets):
        assert [text for _, text in read_lines(path, start=offset)] == NAMES[place:]


def test_options_for_blank_lines_comments_and_backslashes(tmp_path):
    path = put(tmp_path, "# made by hand\n a\\b.jpg \n\n\t\n#c.jpg\nd.jpg\n")
    assert list(read_lines(path, comments=True, backslashes=True, strip=True)) == [(2, "a/b.jpg"), (6, "d.jpg")]
    assert [text for _, text in read_lines(path)] == ["# made by hand", " a\\b.jpg ", "#c.jpg", "d.jpg"]
    assert [text for _, text in read_lines(path, comments=True, blank=True)] == [
        "",
        " a\\b.jpg ",
        "",
        "\t",
        "",
        "d.jpg",
    ]


def test_marks_of_lists_that_were_joined_are_removed(tmp_path):
    assert [text for _, text in read_lines(put(tmp_path, "\ufeffa\n\ufeffb\n"))] == ["a", "b"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a\nb\xff\n", "line 2: not UTF-8 text .* save the file as UTF-8"),
        ("a\n".encode("utf-16") + b"\x00\xdc\n\x00", "line 2: not UTF-16 text"),
        ("a\n".encode("utf-16") + b"b", "line 2: not UTF-16 text"),
        ("a\n".encode("utf-16-le"), "line 1: a NUL character.*UTF-16 without byte order mark"),
        ("a\n".encode("utf-32"), "line 1: a NUL character"),
        (b"a\n\x89PNG\r\n\x1a\n", "line 2: not UTF-8"),
    ],
)
def test_what_is_no_text_is_named_by_line(tmp_path, data, message):
    path = put(tmp_path, data)
    with pytest.raises(DataError, match=message) as caught:
        list(read_lines(path))
    assert str(path) in str(caught.value)


def test_files_that_are_empty_or_not_there(tmp_path):
    empty = put(tmp_path, "\n \n")
    assert list(read_lines(empty)) == []
    with pytest.raises(DataError, match=r"list\.txt: the file is empty"):
        list(read_lines(empty, allow_empty=False))
    for path in (tmp_path, tmp_path / "absent.txt"):
        with pytest.raises(DataError, match="can't be read"):
            list(read_lines(path))


@pytest.mark.parametrize("delimiter", [",", ";", "\t", " "])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_tables_of_every_delimiter(tmp_path, delimiter, encoding):
    text = 'path,"the score, or none"\r\n"a, b; c.jpg",0.5\r\n\r\nd.jpg,\r\n'
    text = text.replace(",", delimiter).replace(f'a{delimiter} b; c.jpg"', 'a, b; c.jpg"')
    text = text.replace(f'score{delimiter} or none"', 'score, or none"')
    if delimiter == " ":
        text = text.replace('"the score, or none"', "score").replace("d.jpg ", "d.jpg 7")
    table = read_table(put(tmp_path, text.encode(encoding)))
    assert table.index.tolist() == [2, 4] and table["path"].tolist() == ["a, b; c.jpg", "d.jpg"]
    assert table.iloc[:, 1].tolist() == ["0.5", "7" if delimiter == " " else ""]


def test_the_delimiter_is_looked_for_outside_of_quotes():
    assert find_delimiter('"a,b,c";d') == ";" and find_delimiter("a b") == " " and find_delimiter("a,b;c,d") == ","


def test_spreadsheets_leave_empty_cells_and_rows_behind(tmp_path):
    table = read_table(put(tmp_path, "a,b\n1,2,,\n,,\n3,4\n"), columns=("b",))
    assert table.to_numpy().tolist() == [["1", "2"], ["3", "4"]] and table.index.tolist() == [2, 4]
    commented = read_table(put(tmp_path, "# by hand\na;b\n# no row\n1;2\n"), comments=True)
    assert commented.index.tolist() == [4]
    assert len(read_table(put(tmp_path, "a,b\n"))) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("\n\na,b,a\n", "line 3: a column occurs twice"),
        ("a,b\n1,2\n", r"line 1: no column 'c', 'd' in the header \['a', 'b'\]"),
        ("c,d\n1\n", "line 2: 2 cells are expected, got 1"),
        ("c,d\n1,2,3\n", "line 2: 2 cells are expected, got 3"),
        ('c,d\n1,"2\n', "line 2: not valid CSV"),
        ('c,d\n"1" x,2\n', "line 2: not valid CSV"),
    ],
)
def test_malformed_tables_are_named_by_line(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_table(put(tmp_path, text), columns=("c", "d"))


def test_numbers_name_the_cell_that_is_none(tmp_path):
    path = put(tmp_path, "x,y\n1,\n-2e3,b\n")
    table = read_table(path)
    np.testing.assert_array_equal(numbers(table["x"], path), [1, -2000])
    with pytest.raises(DataError, match="line 3: y must be a number, not 'b'"):
        numbers(table["y"], path)

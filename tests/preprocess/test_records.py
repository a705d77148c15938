import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm4rec.errors import DataError
from llm4rec.preprocess import lines, records
from llm4rec.preprocess.folder import Folder
from llm4rec.preprocess.records import FileForm, read_delimited, read_jsonl, read_row_groups

CSV = FileForm(file="x.csv", kind="delimited", columns=("id", "text", "n"), quote=True)


def read_csv(data, form=CSV, multiline=True):
    found = read_delimited(data, form, list(form.columns), header=False, multiline=multiline)
    cells = list(zip(*(column.to_pylist() for column in found.columns.values()), strict=True))
    return dict(zip(found.rows.tolist(), cells, strict=True)), dict(found.bad), found.num_rows


def test_quoted_values_may_hold_line_ends():
    good, bad, count = read_csv(b'1,"two\nlines",3\r\n4,"a ""b""\r\n\r\n c",6\n7,,9')
    assert good == {1: ("1", "two\nlines", "3"), 3: ("4", 'a "b"\r\n\r\n c', "6"), 6: ("7", "", "9")}
    assert (bad, count) == ({}, 6)


@pytest.mark.parametrize("stray", [b'2,"cut in ha', b'2,"a" b,3', b'2,a "b,3', b'"', b'2,"""a,3'])
def test_a_stray_quote_costs_one_line(stray):
    data = b"1,a,1\n" + stray + b'\n3,plain,3\n4,"two\nlines",4\n6,"x",6\n'
    good, bad, _ = read_csv(data)
    assert good == {
        1: ("1", "a", "1"),
        3: ("3", "plain", "3"),
        4: ("4", "two\nlines", "4"),
        6: ("6", "x", "6"),
    }
    assert list(bad) == [2] and bad[2].startswith("not 3 columns, or quotes are not closed: ")


def test_many_stray_quotes_cost_their_lines():
    data = b"".join(b'%d,"%s\n' % (n, b"cut" if n % 3 else b'whole\nrecord",1') for n in range(300))
    good, bad, count = read_csv(data)
    assert (len(good), len(bad), count) == (100, 200, 400)


def test_a_quoted_value_of_many_megabytes_is_no_value(monkeypatch):
    monkeypatch.setattr(lines, "LONGEST", 40)
    good, bad, _ = read_csv(b'1,"' + b"x\n" * 30 + b'",1\n2,a,2\n')
    assert good == {32: ("2", "a", "2")}
    assert len(bad) == 31


def test_lines_that_no_reader_could_use():
    good, bad, _ = read_csv(b"1,a,1\n2,\x00,2\n3,\xff\xfe,3\n4,%s,4\n5,\xc3\xa9,5\n" % (b"x" * 5_000_000))
    assert good == {1: ("1", "a", "1"), 5: ("5", "é", "5")}
    assert bad == {
        2: "holds a NUL byte: b'2,\\x00,2'",
        3: "not valid UTF-8: b'3,\\xff\\xfe,3'",
        4: "5000005 bytes, more than the 4194304 that a line may have",
    }


CELL = st.text(st.sampled_from('a,"\n\r |é'), max_size=6)


@given(st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=8))
def test_any_table_written_as_csv_comes_back(rows):
    data = "".join(",".join('"{}"'.format(cell.replace('"', '""')) for cell in row) + "\n" for row in rows)
    good, bad, _ = read_csv(data.encode())
    assert (list(good.values()), bad) == (rows, {})


def test_delimiters_of_several_characters_and_other_encodings():
    form = FileForm(file="x.dat", kind="delimited", columns=("id", "text"), delimiter="::", encoding="latin-1")
    good, bad, _ = read_csv('1::Les Misérables "\n2:x\n'.encode("latin-1"), form)
    assert good == {1: ("1", 'Les Misérables "')}
    assert bad == {2: "expected 2 columns, found 1: '2:x'"}


def read_json(lines_, wanted=("id", "n"), separator="|"):
    found = read_jsonl(b"\n".join(lines_), wanted, separator)
    cells = list(zip(*(column.to_pylist() for column in found.columns.values()), strict=True))
    return dict(zip(found.rows.tolist(), cells, strict=True)), dict(found.bad), found


GOOD = [b'{"id": "a", "n": 1, "more": {"x": [1]}}', b'{"n": 2, "id": "b"}', b'{"id": null}']
DAMAGED = {
    b'{"id": "cut", "n': 'not a JSON object: \'{"id": "cut", "n\'',
    b'{"id": "cut", "n": {"x": 1}': 'not a JSON object: \'{"id": "cut", "n": {"x": 1}\'',
    b'{"id": "\xff", "n": 1}': 'not valid UTF-8: b\'{"id": "\\xff", "n": 1}\'',
    b'{"id": "x", "n": 1, "more": "\xff"}': 'not valid UTF-8: b\'{"id": "x", "n": 1, "more": "\\xff"}\'',
    b'{"id": "\x00"}': 'holds a NUL byte: b\'{"id": "\\x00"}\'',
    b"[1]": "not a JSON object: '[1]'",
    b"7": "not a JSON object: '7'",
    b'{"id": "\\ud800", "n": 1}': 'half a surrogate pair, which is no text: \'{"id": "\\\\ud800", "n": 1}\'',
    b'{"id": 1}{"id": 2}': 'not a JSON object: \'{"id": 1}{"id": 2}\'',
    b'{"n": ' + b"9" * 5000 + b"}": f'not a JSON object: \'{{"n": {"9" * 53}...',
    b'{"id": ' + b"[" * 100_000 + b"]" * 100_000 + b"}": f'not a JSON object: \'{{"id": {"[" * 52}...',
}


@pytest.mark.parametrize("damaged", DAMAGED, ids=lambda line: line[:20])
def test_a_damaged_line_is_refused_and_the_others_stay(damaged):
    good, bad, found = read_json([GOOD[0], damaged, b"", *GOOD[1:]])
    assert {row: tuple(map(str, cells)) for row, cells in good.items()} == {
        1: ("a", "1"),
        4: ("b", "2"),
        5: ("None", "None"),
    }
    assert bad == {2: DAMAGED[damaged]}
    assert found.num_rows == 5


def test_a_damaged_line_does_not_make_the_others_slow(monkeypatch):
    def refuse(lines_, *_):
        assert len(lines_) <= 2, "good lines were read one by one"
        return read(lines_, *_)

    read = records._read_json_lines  # noqa: PLC2701
    monkeypatch.setattr(records, "_read_json_lines", refuse)
    good, bad, _ = read_json([b'{"id": "a", "n": %d}' % n for n in range(50)] + [b'{"id": "cut', b"  "])
    assert len(good) == 50 and list(bad) == [51]


def test_duplicate_keys_and_spaces_around_an_object_are_json():
    good, bad, _ = read_json([b' {"id": "a", "n": 1} ', b'{"id": "x", "id": "b", "n": 2}\r'])
    assert (good, bad) == ({1: ("a", "1"), 2: ("b", "2")}, {})


def test_a_column_takes_its_type_from_more_than_the_first_line():
    _, _, found = read_json([b'{"id": null, "n": null}', b'{"id": "a", "n": 2.5}', b'{"id": "b"}'])
    assert found.columns["n"].type == pa.float64()
    assert found.columns["n"].to_pylist() == [None, 2.5, None]


def test_yes_and_no_are_words():
    for more in ([], [b'{"id": "b", "n": "odd"}']):
        good, _, _ = read_json([b'{"id": "a", "n": true}', b'{"id": "b", "n": false}', *more])
        assert [cells[1] for cells in good.values()][:2] == ["true", "false"]


def test_nested_values_are_kept():
    line = json.dumps({"id": ["a", "b|c", None, 3], "n": [{"x": "é", "y": [1]}, {}]}).encode()
    good, _, _ = read_json([line], separator="\x1f")
    assert good[1][0].split("\x1f") == ["a", "b|c", "", "3"]
    assert [json.loads(part) for part in good[1][1].split("\x1f")] == [{"x": "é", "y": [1]}, {}]


def test_an_empty_text_has_no_records():
    good, bad, found = read_json([])
    assert (good, bad, found.num_rows) == ({}, {}, 0)
    assert read_csv(b"") == ({}, {}, 0)


def test_a_parquet_file_that_was_cut_is_named(tmp_path):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"id": [str(n) * 50 for n in range(2000)]}), path, compression=None)
    data = bytearray(path.read_bytes())
    data[10:60] = b"\xff" * 50
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"x\.parquet in .* cannot be read"):
        read_row_groups(Folder(str(tmp_path)), "x.parquet", [0], ["id"])

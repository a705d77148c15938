import gzip
import json
import math
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llm4rec.errors import DataError
from llm4rec.preprocess.chunks import Chunk, list_chunks, read_chunk
from llm4rec.preprocess.config import InteractionsFile, ItemsFile, SourceConfig, TabularConfig
from llm4rec.preprocess.sources import find_layout
from tests.preprocess.reading import LOOSE, Tables, read_source

ALL = InteractionsFile(file="log.csv", timestamp="timestamp", value="value", event="event")


def tabular(folder, mapping=ALL):
    return SourceConfig(format="tabular", path=str(folder), tabular=TabularConfig(interactions=mapping))


def read(source, chunk_bytes=2**20) -> Tables:
    """A log through the whole stage."""
    found = read_source(source, f"{source.path}/run", LOOSE.model_copy(update={"chunk_bytes": chunk_bytes}))
    return replace(found, interactions=found.interactions.select(["user_id", "item_id", "timestamp", "value", "event"]))


def chunks_of(source, chunk_bytes):
    layout = find_layout(source)
    return list_chunks(layout.folder, [file.form for file in layout.interactions], chunk_bytes)


def write_csv(folder, *lines, file="log.csv", end="\n"):
    header = b"user_id,item_id,timestamp,value,event"
    rows = [line if isinstance(line, bytes) else line.encode() for line in lines]
    (folder / file).write_bytes(b"".join(row + end.encode() for row in [header, *rows]))


def test_every_kind_of_bad_row_is_refused_with_its_line_and_reason(tmp_path):
    write_csv(
        tmp_path,
        "u1,i1,100,4.5,click",
        "u1,i2,100,4.5",
        "u1,i2,soon,4.5,click",
        "u1,i2,100,many,click",
        "u1,i2,100,nan,click",
        ",i2,100,1,click",
        "u1,,100,1,click",
        b"u\xff,i2,100,1,click",
        "",
        "u1,i3,1e15,1,click",
        '"u,2",i2,101,2,click',
        '"u3,i2,101,2,click',
        "u1,i2,100,1e39,click",
        "u1,i2,100,1,",
    )
    log = read(tabular(tmp_path))
    assert log.interactions.to_pylist() == [
        {"user_id": "u,2", "item_id": "i2", "timestamp": 101, "value": 2.0, "event": "click"},
        {"user_id": "u1", "item_id": "i1", "timestamp": 100, "value": 4.5, "event": "click"},
    ]
    assert {row["row"]: row["reason"] for row in log.quarantine.to_pylist()} == {
        3: "expected 5 columns, found 4: 'u1,i2,100,4.5'",
        4: "timestamp is neither seconds, milliseconds nor an ISO date: 'soon'",
        5: "value is not a finite number: 'many'",
        6: "value is not a finite number: 'nan'",
        7: "empty user_id: ''",
        8: "empty item_id: ''",
        9: "not valid UTF-8: b'u\\xff,i2,100,1,click'",
        11: "timestamp is out of range: '1e15'",
        13: "not 5 columns, or quotes are not closed: '\"u3,i2,101,2,click'",
        14: "value is not a finite number: '1e39'",
        15: "empty event: ''",
    }
    assert set(log.quarantine["source"].to_pylist()) == {"log.csv"}


@pytest.mark.parametrize("chunk_bytes", [1, 23, 64, 1000])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_chunk_size_changes_nothing(tmp_path, chunk_bytes, end):
    lines = [f"user{n % 5},item{n},{1000 + n},{n % 3},click" if n % 7 else f"broken {n}" for n in range(20)]
    write_csv(tmp_path, *lines, end=end)
    whole, pieces = read(tabular(tmp_path)), read(tabular(tmp_path), chunk_bytes)
    assert pieces.interactions.combine_chunks().equals(whole.interactions.combine_chunks())
    assert pieces.quarantine.combine_chunks().equals(whole.quarantine.combine_chunks())
    assert whole.interactions.num_rows == 17
    assert whole.quarantine["row"].to_pylist() == [2, 9, 16]


def test_a_file_without_a_last_line_end_loses_nothing(tmp_path):
    (tmp_path / "log.csv").write_bytes(b"user_id,item_id,timestamp,value,event\nu,i,1,1,e\nu,j,2,1,e")
    for chunk_bytes in (5, 1000):
        assert read(tabular(tmp_path), chunk_bytes).interactions["item_id"].to_pylist() == ["i", "j"]


def test_records_count_on_from_piece_to_piece(tmp_path):
    write_csv(tmp_path, *(f"u,i{n},1,1,e" if n % 4 else "broken" for n in range(20)))
    data = (tmp_path / "log.csv").read_bytes()
    (tmp_path / "log.csv.gz").write_bytes(gzip.compress(data))
    (chunk,) = chunks_of(tabular(tmp_path, ALL.model_copy(update={"file": "log.csv.gz"})), 50)
    pieces = list(read_chunk(chunk, ["item_id"]))
    assert len(pieces) > 3
    assert sum(piece.num_rows for piece in pieces) == 21
    assert [row for piece in pieces for row, _ in piece.bad] == [2, 6, 10, 14, 18]
    places = {
        int(row): item for p in pieces for row, item in zip(p.rows, p.columns["item_id"].to_pylist(), strict=True)
    }
    assert places == {n + 2: f"i{n}" for n in range(20) if n % 4}


def test_a_chunk_survives_the_trip_as_json(tmp_path):
    write_csv(tmp_path, "u,i,1,1,e", "broken")
    (chunk,) = chunks_of(tabular(tmp_path), 1000)
    assert Chunk.model_validate_json(chunk.model_dump_json()) == chunk


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("1700000000", 1700000000),
        ("1700000000123", 1700000000),
        ("1700000000.9", 1700000000),
        ("1970-01-02", 86400),
        ("1970-01-02T00:00:05Z", 86405),
        ("1970-01-02 01:00:00+01:00", 86400),
    ],
)
def test_timestamps_become_seconds(tmp_path, written, seconds):
    write_csv(tmp_path, f"u,i,{written},1,e", "u,j,5,1,e")
    assert read(tabular(tmp_path)).interactions["timestamp"].to_pylist() == [5, seconds]


@pytest.mark.parametrize(
    ("first", "second", "third"),
    [
        ("1700000000007", "1700000000070", "1700000000700"),
        ("1700000000.25", "1700000000.5", "1700000000.75"),
        ("2024-01-05T10:00:00.001Z", "2024-01-05T10:00:00.01Z", "2024-01-05T10:00:00.1Z"),
    ],
)
def test_what_came_within_one_second_stays_in_its_order(tmp_path, first, second, third):
    write_csv(tmp_path, f"u,last,{third},1,e", f"u,mid,{second},1,e", f"u,first,{first},1,e")
    log = read(tabular(tmp_path)).interactions
    assert log["item_id"].to_pylist() == ["first", "mid", "last"]
    assert len(set(log["timestamp"].to_pylist())) == 1


@pytest.mark.parametrize(("unit", "ticks"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
def test_parquet_times_of_every_unit_keep_their_fractions(tmp_path, unit, ticks):
    times = [1700000000 * ticks + ticks // 2, 1700000000 * ticks + ticks // 4, None]
    table = pa.table(
        {
            "user_id": ["u"] * 3,
            "item_id": ["b", "a", "c"],
            "timestamp": pa.array(times, pa.timestamp(unit, "UTC")),
            "value": [1.0] * 3,
            "event": ["e"] * 3,
        }
    )
    pq.write_table(table, tmp_path / "log.parquet")
    log = read(tabular(tmp_path, ALL.model_copy(update={"file": "log.parquet"})))
    assert log.interactions["timestamp"].to_pylist() == [1700000000] * 2
    assert log.interactions["item_id"].to_pylist() == (["b", "a"] if unit == "s" else ["a", "b"])
    assert log.quarantine.num_rows == 1


def test_optional_columns_have_defaults(tmp_path):
    (tmp_path / "log.tsv").write_text("who\twhat\tother\nann\tb c\tx\n")
    log = read(tabular(tmp_path, InteractionsFile(file="log.tsv", user_id="who", item_id="what")))
    assert log.interactions.to_pylist() == [
        {"user_id": "ann", "item_id": "b c", "timestamp": 2, "value": 1.0, "event": "interaction"}
    ]


def test_quoted_values_may_hold_commas_and_quotes(tmp_path):
    write_csv(tmp_path, "plain,i,1,1,e", '"a ""b"", c",i,2,1,e', '"d","i","3","1","e"')
    assert read(tabular(tmp_path)).interactions["user_id"].to_pylist() == ['a "b", c', "d", "plain"]


def test_compressed_files_are_one_chunk(tmp_path):
    write_csv(tmp_path, "u,i,1,1,e", "broken", "u,j,2,1,e")
    data = (tmp_path / "log.csv").read_bytes()
    (tmp_path / "log.csv.gz").write_bytes(gzip.compress(data))
    source = tabular(tmp_path, ALL.model_copy(update={"file": "log.csv.gz"}))
    (chunk,) = chunks_of(source, 10)
    log = read(source, 10)
    assert log.interactions["item_id"].to_pylist() == ["i", "j"]
    assert log.quarantine["row"].to_pylist() == [3]
    (tmp_path / "log.csv.gz").write_bytes(gzip.compress(data)[:-9])
    with pytest.raises(DataError, match=r"log\.csv\.gz .* is not a whole gzip file"):
        list(read_chunk(chunk, ["item_id"]))


def test_json_lines_clean_and_dirty_agree(tmp_path):
    records = [
        {"user_id": n % 3, "item_id": f"i{n}", "timestamp": 10 + n, "value": 1.5, "event": "e"} for n in range(9)
    ]
    clean = [json.dumps(record) for record in records]
    source = tabular(tmp_path, ALL.model_copy(update={"file": "log.jsonl"}))
    (tmp_path / "log.jsonl").write_text("\n".join(clean))
    expected = read(source, 60).interactions
    assert expected["user_id"].to_pylist() == ["0"] * 3 + ["1"] * 3 + ["2"] * 3
    dirty = [*clean, "{not json", "[1]", '{"user_id": "u"}', '{"user_id": "\\ud800", "item_id": "i"}']
    (tmp_path / "log.jsonl").write_text("\n".join(dirty))
    log = read(source)
    assert log.interactions.to_pylist() == expected.to_pylist()
    assert log.quarantine["row"].to_pylist() == [10, 11, 12, 13]
    assert log.quarantine["reason"].to_pylist()[2] == "empty item_id: ''"


def test_parquet_chunks_are_row_groups(tmp_path):
    table = pa.table(
        {
            "user_id": pa.array([1, 1, None, 2]),
            "item_id": pa.array(["a", "b", "c", "d"]).dictionary_encode(),
            "timestamp": pa.array([1000, 2000, 3000, 4000], pa.timestamp("ms")),
            "value": [1.0, float("nan"), 1.0, 2.0],
            "event": ["e"] * 4,
        }
    )
    pq.write_table(table, tmp_path / "log.parquet", row_group_size=2)
    source = tabular(tmp_path, ALL.model_copy(update={"file": "log.parquet"}))
    assert len(chunks_of(source, 1)) == 2
    log = read(source, 1)
    assert log.interactions.select(["user_id", "item_id", "timestamp"]).to_pylist() == [
        {"user_id": "1", "item_id": "a", "timestamp": 1},
        {"user_id": "2", "item_id": "d", "timestamp": 4},
    ]
    assert log.quarantine["row"].to_pylist() == [2, 3]
    pq.write_table(table.set_column(0, "user_id", pa.array([1.5] * 4)), tmp_path / "log.parquet")
    with pytest.raises(DataError, match="user_id has type double"):
        read(source)


def test_a_log_without_one_good_row_is_an_error(tmp_path):
    write_csv(tmp_path)
    with pytest.raises(DataError, match="no interactions, only a header"):
        read(tabular(tmp_path))
    write_csv(tmp_path, "oops", "oops")
    with pytest.raises(DataError, match="all 2 rows were refused; the first, row 2: expected 5 columns, found 1"):
        read(tabular(tmp_path))


def test_spaces_around_ids_make_no_other_item_and_no_other_user(tmp_path):
    write_csv(tmp_path, " u1,sku-1,1,1,click", "u1 ,sku-2 ,2,1,click ", "u2, sku-1,3,1,click")
    rows = read(tabular(tmp_path)).interactions.to_pylist()
    assert [(row["user_id"], row["item_id"], row["event"]) for row in rows] == [
        ("u1", "sku-1", "click"),
        ("u1", "sku-2", "click"),
        ("u2", "sku-1", "click"),
    ]


def test_a_log_of_other_ids_than_the_catalogues_is_told_with_an_example_of_both(tmp_path):
    write_csv(tmp_path, "u1,12.0,1,1,click", "u2,13.0,2,1,click")
    (tmp_path / "items.csv").write_text("id,title\n12,Pan\n13,Pot\n")
    source = tabular(tmp_path)
    items = ItemsFile(file="items.csv", item_id="id", title="title")
    source = source.model_copy(update={"tabular": source.tabular.model_copy(update={"items": items})})
    with pytest.raises(DataError, match=r"none of the log's 2 items .* catalogue's 2: the log has '12.0', .* '12';"):
        read(source)


def test_days_without_separators_are_dates_where_most_are(tmp_path):
    write_csv(tmp_path, "u1,i1,20240105,1,click", "u1,i2,20231231,1,click")
    assert read(tabular(tmp_path)).interactions["timestamp"].to_pylist() == [1_703_980_800, 1_704_412_800]
    odd = ["0", "20240199", "soon"]
    days = [f"u1,i{day},202401{day:02d},1,click" for day in range(5, 9)]
    write_csv(tmp_path, *days, *(f"u1,i1,{cell},1,click" for cell in odd), "u1,i1,2024-01-09,1,click")
    log = read(tabular(tmp_path))
    assert log.interactions["timestamp"].to_pylist() == [1_704_412_800 + 86_400 * day for day in range(5)]
    assert [row["reason"].rpartition(": ")[2] for row in log.quarantine.to_pylist()] == [repr(cell) for cell in odd]


def test_seconds_that_look_like_days_are_seconds_where_most_do_not(tmp_path):
    write_csv(tmp_path, "u1,i1,20240105,1,click", "u1,i2,1700000000,1,click")
    assert read(tabular(tmp_path)).interactions["timestamp"].to_pylist() == [20240105, 1700000000]
    write_csv(tmp_path, *(f"u1,i{n},{20240100 + n},1,click" for n in range(90)))
    times = read(tabular(tmp_path)).interactions["timestamp"].to_pylist()
    assert times == list(range(20240100, 20240190))


def test_what_pandas_writes_for_a_missing_value_is_missing(tmp_path):
    rows = [{"user_id": user, "item_id": "i1", "timestamp": 5, "value": 1, "event": "e"} for user in ("a", math.nan)]
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = read(tabular(tmp_path, ALL.model_copy(update={"file": "log.jsonl"})))
    assert found.interactions["user_id"].to_pylist() == ["a"]
    assert found.quarantine["reason"].to_pylist() == ["empty user_id: ''"]


def test_an_empty_event_is_the_default_one_where_events_have_names(tmp_path):
    write_csv(tmp_path, "u1,i1,1,1,true", "u1,i2,2,1,", "u1,i3,3,1,  ")
    named = ALL.model_copy(update={"event_names": {"true": "purchase"}, "default_event": "review"})
    assert read(tabular(tmp_path, named)).interactions["event"].to_pylist() == ["purchase", "review", "review"]


def test_an_empty_packed_file_among_others_has_no_rows(tmp_path):
    (tmp_path / "log").mkdir()
    row = json.dumps({"user_id": "u1", "item_id": "i1", "timestamp": 1, "value": 1, "event": "e"}).encode()
    for name, data in (("a", b""), ("b", row), ("c", b"")):
        (tmp_path / "log" / f"{name}.jsonl.gz").write_bytes(gzip.compress(data))
    assert len(read(tabular(tmp_path, ALL.model_copy(update={"file": "log"}))).interactions) == 1

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from llm4rec.errors import DataError
from llm4rec.preprocess.config import ItemsFile, SourceConfig
from llm4rec.preprocess.fingerprint import fingerprint
from llm4rec.preprocess.sources import find_layout
from tests.preprocess.raw_files import read_catalogue, read_log, source, tabular, write_lines
from tests.preprocess.reading import read_source

LOG = {"file": "log.csv"}


@pytest.fixture
def folder(tmp_path):
    """A folder with a small log, and neighbours of its own."""
    inside = tmp_path / "data"
    inside.mkdir()
    (inside / "log.csv").write_text("user_id,item_id\nu,a\nu,b\n")
    return inside


def test_a_catalogue_is_mapped_and_what_must_is_refused(folder):
    (folder / "items.csv").write_text(
        'sku,name,about,tags,price,photo\na,"Lamp, red","Two\nlines",light;home;light,9.5,a.jpg\n'
        'b,,,,,\nc,Chair,,home,cheap,\n,Nameless,,,,\nd,Desk &amp; <b>more</b>,<p>1 &lt; 2</p>,home;,"$1,299.00",\n'
    )
    (folder / "users.csv").write_text(
        "user_id,plan,age,joined\nu,gold,41,2019-02-03\nv,,,\nw,tin,old,\nu,tin,1,\nx,,,03\ny,,99999999999999999999,\n"
    )
    items = {
        "file": "items.csv",
        "item_id": "sku",
        "title": "name",
        "text": "about",
        "categories": "tags",
        "separator": ";",
        "numbers": ["price"],
        "image": "photo",
    }
    users = {"file": "users.csv", "attributes": ["plan"], "numbers": ["age"], "years": ["joined"]}
    found = read_catalogue(tabular(folder, interactions=LOG, items=items, users=users))
    lamp, bare, desk = found.items
    assert lamp == {
        "item_id": "a",
        "title": "Lamp, red",
        "text": "Two\nlines",
        "categories": ["light", "home"],
        "numbers": {"price": 9.5},
        "image": "a.jpg",
        "audio": None,
    }
    assert (bare["title"], bare["categories"], bare["numbers"], bare["image"]) == ("b", [], {"price": None}, None)
    assert (desk["title"], desk["text"], desk["numbers"]) == ("Desk & more", "1 < 2", {"price": 1299.0})
    assert found.users == [
        {"user_id": "u", "age": 41, "joined": 2019, "plan": "gold"},
        {"user_id": "v", "age": None, "joined": None, "plan": None},
    ]
    assert found.refused == [
        (5, "items.csv", "price is not a finite number: 'cheap'"),
        (6, "items.csv", "empty sku"),
        (4, "users.csv", "age is not a finite number: 'old'"),
        (5, "users.csv", "user_id 'u' was already in row 2"),
        (6, "users.csv", "joined is not a date: '03'"),
        (7, "users.csv", "age is too large: '99999999999999999999'"),
    ]


def test_several_columns_make_text_and_categories(folder):
    (folder / "items.csv").write_text("item_id,brand,kind,short,long\na,Acme,tool|Acme,Short.,Long.\nb,,tool,,Long.\n")
    items = {"file": "items.csv", "text": ["short", "long"], "categories": ["brand", "kind"]}
    found = read_catalogue(tabular(folder, interactions=LOG, items=items)).items
    assert [item["text"] for item in found] == ["Short.\nLong.", "Long."]
    assert [item["categories"] for item in found] == [["Acme", "tool"], ["tool"]]
    assert [item["numbers"] for item in found] == [None, None]


def test_json_catalogue_takes_lists(folder):
    write_lines(folder / "items.jsonl", [{"item_id": 7, "tags": ["x", "y z"], "price": 2}, {"item_id": "b"}])
    items = {"file": "items.jsonl", "categories": "tags", "numbers": ["price"]}
    found = read_catalogue(tabular(folder, interactions=LOG, items=items)).items
    assert [(item["item_id"], item["categories"], item["numbers"]) for item in found] == [
        ("7", ["x", "y z"], {"price": 2.0}),
        ("b", [], {"price": None}),
    ]


def test_missing_numbers_by_word_and_by_value(folder):
    (folder / "items.csv").write_text("item_id,budget\na,0\nb,—\nc,N/A\nd,0.0\ne,-1\nf,7\ng,nan\nh,unknown\n")
    items = {"file": "items.csv", "numbers": "budget", "missing": ["0", "-1"]}
    found = read_catalogue(tabular(folder, interactions=LOG, items=items))
    assert [item["numbers"]["budget"] for item in found.items] == [None] * 5 + [7.0, None, None]
    assert found.refused == []


def test_files_without_a_header_and_with_long_delimiters(folder):
    (folder / "ratings.dat").write_text("u::7::5::100\nv::8::1::200\nbroken::7\n")
    (folder / "movies.dat").write_bytes("7::Misérables, Les (1995)::Drama|War\n8::Babe (1995)::\n".encode("latin-1"))
    (folder / "users.txt").write_text("u\tF\nv\tM\n")
    log = {"file": "ratings.dat", "columns": ["user_id", "item_id", "stars", "t"], "delimiter": "::"}
    items = {"file": "movies.dat", "columns": ["item_id", "title", "genres"], "delimiter": "::", "encoding": "latin-1"}
    items |= {"title": "title", "categories": "genres", "titles": "movielens"}
    users = {"file": "users.txt", "columns": ["user_id", "gender"], "delimiter": "\t", "attributes": ["gender"]}
    config = tabular(folder, interactions=log | {"timestamp": "t", "value": "stars"}, items=items, users=users)
    rows, bad = read_log(config)
    assert [(row["user_id"], row["item_id"], row["value"]) for row in rows] == [("u", "7", 5.0), ("v", "8", 1.0)]
    assert bad == [(3, "ratings.dat", "expected 4 columns, found 2: 'broken::7'")]
    found = read_catalogue(config)
    assert [item["title"] for item in found.items] == ["Les Misérables (1995)", "Babe (1995)"]
    assert found.items[0]["numbers"] == {"year": 1995.0}
    assert found.users == [{"user_id": "u", "gender": "F"}, {"user_id": "v", "gender": "M"}]


def test_recbole_headers_carry_types(folder):
    (folder / "x.inter").write_text('user:token\titem:token\tstamp:float\nu\t"a\t5\n')
    log = {"file": "x.inter", "user_id": "user", "item_id": "item", "timestamp": "stamp"}
    (row,), bad = read_log(tabular(folder, interactions=log))
    assert (row["item_id"], row["timestamp"], bad) == ('"a', 5, [])


@pytest.mark.parametrize("name", ["reviews", "reviews/", "reviews/part-*.jsonl*"])
def test_a_folder_or_a_pattern_is_many_files(folder, name):
    for part, packed in (("part-10.jsonl", False), ("part-02.jsonl", True)):
        write_lines(folder / "reviews" / part, [{"user_id": part, "item_id": "a"}], packed)
    for ignored in ("_SUCCESS", ".part.crc", "part-99.jsonl"):
        (folder / "reviews" / ignored).write_text("")
    config = tabular(folder, interactions={"file": name})
    rows, _ = read_log(config)
    assert [row["user_id"] for row in rows] == ["part-02.jsonl", "part-10.jsonl"]
    assert find_layout(config).files == ["reviews/part-02.jsonl.gz", "reviews/part-10.jsonl"]


def test_catalogues_may_be_many_files_too(folder):
    (folder / "items").mkdir()
    for part in "ba":
        (folder / f"items/{part}.csv").write_text(f"item_id\n{part}1\n{part}2\n")
    config = tabular(folder, interactions=LOG, items={"file": "items/*.csv"})
    assert [item["item_id"] for item in read_catalogue(config).items] == ["a1", "a2", "b1", "b2"]


def more_items(folder):
    (folder / "items.csv").write_text("item_id,about,kind,price,photo\na,Own.,x,1,a.jpg\nb,,,,\nc,,,,\n")
    (folder.parent / "more.csv").write_text(
        "id,about,kind,price,weight,photo\na,More.,x|y,9,2,other.jpg\nb,,z,9,,b.jpg\nb,Again,,,,\nz,,,,,\nc,,,,heavy,\n"
    )
    (folder.parent / "third.csv").write_text("item_id,about\nb,Third.\na,Last.\n")
    columns = {"text": "about", "categories": "kind", "image": "photo"}
    more = {"file": "../more.csv", "item_id": "id", "numbers": ["price", "weight"]}
    return tabular(
        folder,
        interactions=LOG,
        items={"file": "items.csv", "numbers": ["price"]} | columns,
        more_items=[more | columns, {"file": "../third.csv", "text": "about"}],
    )


def test_more_items_add_to_the_catalogue(folder):
    found = read_catalogue(more_items(folder))
    a, b, c = found.items
    assert (a["text"], a["categories"], a["image"]) == ("Own.\nMore.\nLast.", ["x", "y"], "a.jpg")
    assert a["numbers"] == {"price": 1.0, "weight": 2.0}
    assert (b["text"], b["categories"], b["image"]) == ("Third.", ["z"], "b.jpg")
    assert b["numbers"] == {"price": 9.0, "weight": None}
    assert (c["text"], c["categories"], c["image"]) == (None, [], None)
    assert found.refused == [
        (4, "../more.csv", "id 'b' was already in row 3"),
        (6, "../more.csv", "weight is not a finite number: 'heavy'"),
    ]


def test_the_whole_stage_reads_them_and_their_contents_count(folder, tmp_path):
    config = more_items(folder)
    found = read_source(config, tmp_path / "run")
    assert found.items.select(["item_id", "text", "warm"]).to_pylist() == [
        {"item_id": "a", "text": "Own.\nMore.\nLast.", "warm": True},
        {"item_id": "b", "text": "Third.", "warm": True},
        {"item_id": "c", "text": None, "warm": False},
    ]
    assert found.quarantine.num_rows == 2
    before = fingerprint(config)
    (tmp_path / "third.csv").write_text("item_id,about\nb,Changed.\n")
    assert fingerprint(config) != before


def write_parquet(folder, file, /, **columns):
    pq.write_table(pa.table(columns), folder / file)


def test_media_bytes_and_lists_of_parquet(folder):
    kinds = pa.array([["x", "y"], None, []], pa.list_(pa.string()))
    photos = pa.array([b"\xff\xd8", None, b""], pa.binary())
    write_parquet(
        folder, "items.parquet", item_id=["a", "b", "c"], kind=kinds, price=[1.5, None, float("nan")], photo=photos
    )
    items = {"file": "items.parquet", "categories": "kind", "text": "kind", "numbers": ["price"], "image": "photo"}
    found = read_catalogue(tabular(folder, interactions=LOG, items=items)).items
    assert [item["image"] for item in found] == [b"\xff\xd8", None, b""]
    assert [item["categories"] for item in found] == [["x", "y"], [], []]
    assert [item["text"] for item in found] == ["x\ny", None, None]
    assert [item["numbers"]["price"] for item in found] == [1.5, None, None]


def test_what_is_missing_within_a_list_is_no_category(folder):
    write_parquet(folder, "items.parquet", item_id=["a"], kind=[["x|y", None]])
    items = {"file": "items.parquet", "categories": "kind"}
    (item,) = read_catalogue(tabular(folder, interactions=LOG, items=items)).items
    assert item["categories"] == ["x", "y"]


def test_a_misspelt_key_of_json_lines_is_named(folder, caplog):
    (folder / "items.jsonl").write_text('{"item_id": "a", "name": "A"}\nbroken\n{"item_id": "b", "price": 1}\n')
    mapping = {"file": "items.jsonl", "title": "name", "numbers": ["price"]}
    find_layout(tabular(folder, interactions=LOG, items=mapping))
    wrong = tabular(folder, interactions=LOG, items={**mapping, "text": "about"})
    with pytest.raises(DataError, match=r"none of its records has 'about'; they have 'item_id', 'name', 'price'"):
        find_layout(wrong)
    with (folder / "items.jsonl").open("a") as more:
        more.write('{"item_id": "c"}\n' * 70_000)
    find_layout(wrong)  # those behind may have it
    assert "records has 'about'" in caplog.text


def test_two_columns_of_one_name_are_refused(folder):
    (folder / "twice.csv").write_text("item_id,name,name\na,A,B\n")
    with pytest.raises(DataError, match=r"twice\.csv: more than one column is called 'name'"):
        find_layout(tabular(folder, interactions=LOG, items={"file": "twice.csv", "title": "name"}))


def test_files_that_cannot_be_read_as_what_they_are_called_are_named(folder):
    (folder / "mac.csv").write_bytes(b"item_id,name\ra,A\r")
    with pytest.raises(DataError, match=r"mac\.csv: its first line cannot be read as column names"):
        find_layout(tabular(folder, interactions=LOG, items={"file": "mac.csv", "title": "name"}))
    write_parquet(folder, "items.parquet", item_id=["a"])
    data = bytearray((folder / "items.parquet").read_bytes())
    data[-40:-8] = b"\xff" * 32  # the footer, not what says that it is one
    (folder / "items.parquet").write_bytes(data)
    with pytest.raises(DataError, match=r"items\.parquet .* is not a Parquet file"):
        find_layout(tabular(folder, interactions=LOG, items={"file": "items.parquet"}))


def test_text_that_is_no_utf8_in_parquet_is_refused(folder):
    def spoilt(*cells):
        data = pa.array([cell.encode("latin-1") for cell in cells], pa.binary())
        return pa.StringArray.from_buffers(len(cells), data.buffers()[1], data.buffers()[2])

    names = spoilt("a", "é", "c").dictionary_encode()
    write_parquet(folder, "items.parquet", item_id=["a", "b", "c"], name=names, photo=spoilt("a.jpg", "b.jpg", "ü.jpg"))
    items = {"file": "items.parquet", "title": "name", "image": "photo"}
    found = read_catalogue(tabular(folder, interactions=LOG, items=items))
    assert [item["title"] for item in found.items] == ["a"]
    assert found.refused == [
        (2, "items.parquet", "name is not valid UTF-8"),
        (3, "items.parquet", "photo is not valid UTF-8"),
    ]


def test_details_may_bring_bytes_where_the_catalogue_has_no_media(folder):
    (folder / "items.csv").write_text("item_id,photo\na,\nb,\n")
    write_parquet(folder, "photos.parquet", item_id=["b"], photo=[b"\xff\xd8"])
    items = {"file": "items.csv", "image": "photo"}
    config = tabular(folder, interactions=LOG, items=items, more_items=[{"file": "photos.parquet", "image": "photo"}])
    assert [item["image"] for item in read_catalogue(config).items] == [None, b"\xff\xd8"]
    (folder / "items.csv").write_text("item_id,photo\na,a.jpg\nb,\n")
    with pytest.raises(DataError, match="image: items have bytes in one file and paths in another"):
        read_catalogue(config)


def test_media_templates_give_what_exists_and_never_leave_the_folder(folder, tmp_path):
    posters = tmp_path / "posters"
    posters.mkdir()
    ids = ["a", "b c", "é", "../secret", "x/y", "..", ".", "big", ""]
    for name in ("a.jpg", "b c.jpg", "é.jpg", ".jpg", "own.jpg"):
        (posters / name).write_bytes(b"\xff\xd8")
    (tmp_path / "secret.jpg").write_bytes(b"\xff\xd8")
    (posters / "x").mkdir()
    (posters / "x/y.jpg").write_bytes(b"\xff\xd8")
    write_lines(folder / "items.jsonl", [{"item_id": key, "photo": "own.jpg" if key == "big" else None} for key in ids])
    (folder / "a.wav").write_bytes(b"RIFF")
    config = source(
        folder,
        "tabular",
        images="../posters/{item_id}.jpg",
        audio="{item_id}.wav",
        tabular={"interactions": LOG, "items": {"file": "items.jsonl", "image": "photo"}},
    )
    found = {item["item_id"]: item["image"] for item in read_catalogue(config).items}
    existing = {"a": "../posters/a.jpg", "b c": "../posters/b c.jpg", "é": "../posters/é.jpg", "big": "own.jpg"}
    assert {key: path for key, path in found.items() if path} == existing
    assert [item["audio"] for item in read_catalogue(config).items] == ["a.wav", *[None] * 7]
    assert read_source(config, tmp_path / "run").items["image"].to_pylist()[:2] == ["../posters/a.jpg", None]


def test_a_template_cannot_fill_a_column_of_bytes(folder):
    write_parquet(folder, "items.parquet", item_id=["a"], photo=pa.array([None], pa.binary()))
    sections = {"interactions": LOG, "items": {"file": "items.parquet", "image": "photo"}}
    config = source(folder, "tabular", images="{item_id}.jpg", tabular=sections)
    with pytest.raises(DataError, match=r"image column holds bytes; leave out the template '\{item_id\}\.jpg'"):
        read_catalogue(config)


def test_renamed_events_and_a_second_id_column(folder):
    records = [
        {"user_id": "u", "item_id": key, "old": "o", "kind": kind}
        for key, kind in (("i", "a"), ("", "b"), (None, None))
    ]
    write_lines(folder / "log.jsonl", records)
    log = {"file": "log.jsonl", "other_item_id": "old", "event": "kind", "event_names": {"a": "buy"}}
    rows, bad = read_log(tabular(folder, interactions=log | {"default_event": "none"}))
    assert bad == []
    assert [(row["item_id"], row["event"]) for row in rows] == [("i", "buy"), ("o", "b"), ("o", "none")]


def test_faults_of_the_folder_are_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere' does not exist; it must be the folder of the raw files"):
        find_layout(source(tmp_path / "nowhere"))
    (tmp_path / "notes.md").write_text("hello")
    with pytest.raises(DataError, match="is a file"):
        find_layout(source(tmp_path / "notes.md"))
    with pytest.raises(DataError, match=r"source.path 'warp://x' cannot be opened"):
        find_layout(source("warp://x"))


FAULTS = [
    ("missing.csv", r"missing\.csv not found in .*; found: empty\.csv, log\.csv, log\.parquet, log\.xls"),
    ("empty.csv", r"empty\.csv in .* is empty"),
    ("log.csv", r"log\.csv: no column 'user_id'; it has 'user', 'item_id'"),
    ("log.parquet", r"log\.parquet in .* is not a Parquet file"),
    ("log.xls", r"log\.xls: format not known by its ending; .* say which delimiter"),
    ("*.tsv", r"no file fits '\*\.tsv' in .*; found: empty\.csv, log\.csv"),
    ("*/x.csv", r"'\*/x\.csv': wildcards may only stand behind the last slash"),
    ("../../../../../../../../../../../../nowhere.csv", r"nowhere\.csv not found in .*; found: "),
]


@pytest.mark.parametrize(("file", "message"), FAULTS)
def test_faults_of_the_files_are_named(tmp_path, file, message):
    for name, data in (("log.csv", "user,item_id\n"), ("log.parquet", "x"), ("log.xls", "x"), ("empty.csv", "")):
        (tmp_path / name).write_text(data)
    with pytest.raises(DataError, match=message):
        find_layout(tabular(tmp_path, interactions={"file": file}))


BAD_CONFIGS = [
    ({"format": "tabular"}, "needs a 'tabular' section"),
    ({"tabular": {"interactions": LOG}}, "a 'tabular' section needs format 'tabular'"),
    ({"format": "yelp", "movielens": {"tags": False}}, "a 'movielens' section needs format 'movielens'"),
    ({"images": "posters/x.jpg"}, r"must hold \{item_id\} once, in the file name"),
    ({"audio": "{item_id}/sound.wav"}, r"must hold \{item_id\} once, in the file name"),
    ({"format": "amazon"}, "'movielens', 'amazon-2023', 'yelp', 'tabular' or 'synthetic'"),
]


@pytest.mark.parametrize(("settings", "message"), BAD_CONFIGS)
def test_configs_that_cannot_work_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        SourceConfig.model_validate({"path": "x", **settings})


def test_more_items_need_items_and_have_no_titles():
    more = [{"file": "more.csv", "title": "name"}]
    with pytest.raises(ValidationError, match="more_items needs items"):
        tabular("x", interactions=LOG, more_items=more)
    with pytest.raises(ValidationError, match="'more.csv' has titles, which only items may"):
        tabular("x", interactions=LOG, items={"file": "items.csv"}, more_items=more)


def test_mappings_survive_the_trip_as_json():
    mapping = ItemsFile(file="x.csv", text="about", categories=["a", "b"], missing=["0"])
    assert mapping.text == ("about",)
    assert ItemsFile.model_validate(json.loads(mapping.model_dump_json())) == mapping
    assert mapping.wanted == ["item_id", "about", "a", "b"]
    assert ItemsFile(file="x.csv", text=None).text == ()


def test_a_uri_reads_like_a_path(folder):
    config = tabular(f"file://{folder}", interactions=LOG, items={"file": "../data/log.csv"})
    assert [row["item_id"] for row in read_log(config)[0]] == ["a", "b"]
    assert fingerprint(config) == fingerprint(tabular(folder, interactions=LOG, items={"file": "../data/log.csv"}))

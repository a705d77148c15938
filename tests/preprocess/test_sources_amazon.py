import json

import pytest

from llm4rec.errors import DataError
from llm4rec.preprocess.config import InteractionsFile, ItemsFile
from llm4rec.preprocess.items import parse_items, wanted_columns
from llm4rec.preprocess.records import read_jsonl
from llm4rec.preprocess.sources import find_layout
from llm4rec.preprocess.sources.amazon import main_image
from tests.preprocess.raw_files import read_catalogue, read_log, source, write_lines
from tests.preprocess.reading import read_source

REVIEW = {
    "rating": 5.0,
    "title": "Bright",
    "text": "Lights the whole yard.<br />Love it",
    "images": [{"small_image_url": "https://img.example/s.jpg", "attachment_type": "IMAGE"}],
    "asin": "B0LAMPRED1",
    "parent_asin": "B0LAMP0001",
    "user_id": "AE2USER",
    "timestamp": 1588687728923,
    "helpful_vote": 3,
    "verified_purchase": True,
}
META = {
    "main_category": "Tools &amp; Home",
    "title": "Lamp &quot;Sun&quot;, 12&quot;",
    "average_rating": 4.5,
    "rating_number": 1200,
    "features": ["Bright: <b>800 lm</b>", "Lasts|long"],
    "description": ["<p>A lamp.</p>", ""],
    "price": "$1,299.00",
    "images": [
        {
            "thumb": "https://img.example/t1.jpg",
            "large": "https://img.example/l1.jpg",
            "variant": "PT01",
            "hi_res": None,
        },
        {
            "thumb": "https://img.example/t2.jpg",
            "large": "https://img.example/l2.jpg",
            "variant": "MAIN",
            "hi_res": "h",
        },
    ],
    "videos": [{"title": "v", "url": "https://video.example", "user_id": ""}],
    "store": "Acme",
    "categories": ["Tools & Home", "Lamps", "Acme"],
    "details": {"Brand": "Acme", "Best Sellers Rank": {"Lamps": 3}},
    "parent_asin": "B0LAMP0001",
    "bought_together": None,
}


def write(folder, reviews=(REVIEW,), metas=(META,), packed=False, raw=False):
    parts = ("raw/review_categories/", "raw/meta_categories/") if raw else ("", "")
    write_lines(folder / f"{parts[0]}Home.jsonl", reviews, packed)
    write_lines(folder / f"{parts[1]}meta_Home.jsonl", metas, packed)
    return source(folder, "amazon-2023")


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("raw", [False, True], ids=["side by side", "hub"])
def test_a_category_is_read_from_either_layout(tmp_path, packed, raw):
    config = write(tmp_path, packed=packed, raw=raw)
    (row,), bad = read_log(config)
    assert bad == []
    assert row == {
        "user_id": "AE2USER",
        "item_id": "B0LAMP0001",
        "timestamp": 1588687728,
        "value": 5.0,
        "event": "purchase",
        "fraction": pytest.approx(0.923, abs=1e-6),
        "order": 1,
        "review": "Lights the whole yard.<br />Love it",
    }
    (item,) = read_catalogue(config).items
    assert item == {
        "item_id": "B0LAMP0001",
        "title": 'Lamp "Sun", 12"',
        "text": "Bright: 800 lm\nLasts|long\nA lamp.",
        "categories": ["Tools & Home", "Lamps", "Acme"],
        "numbers": {"price": 1299.0},
        "image": "https://img.example/l2.jpg",
        "audio": None,
    }


def test_ratings_counted_over_all_time_are_not_read(tmp_path):
    config = write(tmp_path)
    before = read_catalogue(config).items
    write(tmp_path, metas=[META | {"average_rating": 1.0, "rating_number": 9, "bought_together": ["B1"]}])
    assert read_catalogue(config).items == before


def test_several_categories_stand_in_the_order_of_their_names(tmp_path):
    write_lines(tmp_path / "Toys.jsonl", [REVIEW])
    write_lines(tmp_path / "Books.jsonl", [REVIEW], packed=True)
    for name in ("Toys", "Books", "Music"):
        write_lines(tmp_path / f"meta_{name}.jsonl", [META | {"parent_asin": name}])
    layout = find_layout(source(tmp_path, "amazon-2023"))
    assert [file.form.file for file in layout.interactions] == ["Books.jsonl.gz", "Toys.jsonl"]
    # Metadata without reviews are cold items.
    assert [row["item_id"] for row in read_catalogue(source(tmp_path, "amazon-2023")).items] == [
        "Books",
        "Music",
        "Toys",
    ]


def test_dirty_reviews(tmp_path):
    rows, bad = read_log(
        write(
            tmp_path,
            [
                REVIEW,
                REVIEW | {"parent_asin": None, "verified_purchase": False},
                {key: REVIEW[key] for key in ("user_id", "asin", "rating", "timestamp")},
                REVIEW | {"parent_asin": "", "asin": ""},
                REVIEW | {"rating": None},
                json.dumps(REVIEW).encode()[:90],
                json.dumps(REVIEW).encode().replace(b"yard", b"y\xff\xferd"),
                b"",
                REVIEW | {"timestamp": 1588687728, "parent_asin": "a/../b c\u00e9", "text": None},
                REVIEW | {"text": "x" * 5_000_000},
            ],
        )
    )
    assert [(row["item_id"], row["event"], row["timestamp"]) for row in rows] == [
        ("B0LAMP0001", "purchase", 1588687728),
        ("B0LAMPRED1", "review", 1588687728),
        ("B0LAMPRED1", "review", 1588687728),
        ("a/../b cé", "purchase", 1588687728),
    ]
    reasons = {row: reason for row, _, reason in bad}
    assert list(reasons) == [4, 5, 6, 7, 10]
    assert (reasons[4], reasons[5]) == ("empty item_id: ''", "value is not a finite number: None")
    assert reasons[6].startswith('not a JSON object: \'{"rating": 5.0')
    assert reasons[7].startswith('not valid UTF-8: b\'{"rating"')
    assert reasons[10].endswith(" bytes, more than the 4194304 that a line may have")


def test_dirty_metadata(tmp_path):
    metas = [
        {"parent_asin": "bare"},
        {key: None for key in META} | {"parent_asin": "nulls"},
        {key: [] for key in META} | {"parent_asin": "empty"},
        META | {"parent_asin": "dash", "price": "—", "images": [{"variant": "MAIN"}, {"hi_res": "only"}]},
        META | {"parent_asin": "from", "price": "from 12.99", "description": "not a list", "images": "no.jpg"},
        META | {"parent_asin": "number", "price": 7.5, "features": [None, 3, {"a": 1}]},
        META | {"parent_asin": "word", "price": "Currently unavailable"},
        META | {"parent_asin": "../../etc/pass wd\u2603"},
        META | {"parent_asin": ""},
        META | {"parent_asin": "entities &amp; all"},
        json.dumps(META).encode()[:200],
    ]
    config = write(tmp_path, metas=metas)
    found = {row["item_id"]: row for row in read_catalogue(config).items}
    assert list(found) == [
        "bare",
        "nulls",
        "empty",
        "dash",
        "from",
        "number",
        "word",
        "../../etc/pass wd☃",
        "entities &amp; all",
    ]
    for name in ("bare", "nulls", "empty"):
        bare = {"item_id": name, "title": name, "text": None, "categories": [], "image": None, "audio": None}
        assert found[name] == bare | {"numbers": {"price": None}}
    prices = [found[name]["numbers"]["price"] for name in ("dash", "from", "number", "word")]
    assert prices == [None, 12.99, 7.5, None]
    assert (found["dash"]["image"], found["from"]["image"]) == ("only", None)
    assert found["from"]["text"] == "Bright: 800 lm\nLasts|long\nnot a list"
    assert [row[:2] for row in read_catalogue(config).refused] == [
        (9, "meta_Home.jsonl"),
        (11, "meta_Home.jsonl"),
    ]


def test_images_are_chosen_by_variant_then_size():
    def cell(*images):
        return "\x1f".join(json.dumps(image) for image in images)

    assert main_image(None) is None
    assert main_image(cell({"thumb": "t", "hi_res": "h"})) == "h"
    assert main_image(cell({"thumb": "t", "large": " ", "variant": "MAIN"})) == "t"
    assert main_image(cell({"large": "first"}, {"large": "main", "variant": "MAIN"})) == "main"
    assert main_image(cell({"variant": "MAIN"}, {"large": "other"})) == "other"
    assert main_image(cell({"large": ["a", "b"], "variant": ["PT01", "MAIN"], "hi_res": [None]})) == "b"
    assert main_image(cell(["https://x"], 7, "text", {"large": 7}, {"large": {"a": 1}})) is None
    assert main_image('{"large": "\\ud800"}') == "?"


def test_reviews_are_read_by_arrow_and_line_by_line_alike(tmp_path):
    layout = find_layout(write(tmp_path))
    wanted = layout.interactions[0].mapping.wanted
    lines = [json.dumps(REVIEW | {"user_id": f"u{n}", "verified_purchase": n % 2 == 0}).encode() for n in range(5)]
    fast = read_jsonl(b"\n".join(lines), wanted)
    # A column of two types takes the other path.
    odd = json.dumps(REVIEW | {"rating": "4", "user_id": "odd"}).encode()
    slow = read_jsonl(b"\n".join([*lines, odd]), wanted)
    assert fast.columns["rating"].type == "double" and slow.columns["rating"].type == "string"
    for name in set(wanted) - {"rating"}:
        assert fast.columns[name].cast("string").to_pylist() == slow.columns[name].to_pylist()[:5], name


def test_what_tasks_get_survives_the_trip_as_json(tmp_path):
    layout = find_layout(write(tmp_path))
    (log,), (file,) = layout.interactions, layout.items
    assert type(log).model_validate_json(log.model_dump_json()) == log
    assert type(file).model_validate_json(file.model_dump_json()) == file
    assert isinstance(log.mapping, InteractionsFile) and isinstance(file.mapping, ItemsFile)
    records = read_jsonl(json.dumps(META).encode(), wanted_columns(file), file.mapping.separator)
    table, bad = parse_items(records, file, ("other", "price"))
    assert bad == [] and table["order"].to_pylist() == [1]
    assert table["numbers"].to_pylist() == [{"other": None, "price": 1299.0}]


def test_missing_files_are_named(tmp_path):
    with pytest.raises(DataError, match=r"no Amazon reviews in .*: found no files; expected <category>\.jsonl"):
        find_layout(source(tmp_path, "amazon-2023"))
    write_lines(tmp_path / "Home.jsonl", [REVIEW])
    with pytest.raises(DataError, match=r"Home\.jsonl has no metadata in .*: put meta_Home\.jsonl"):
        find_layout(source(tmp_path, "amazon-2023"))


def test_the_whole_stage(tmp_path):
    reviews = [REVIEW, REVIEW, REVIEW | {"user_id": "B", "parent_asin": "new"}, b'{"user_id": "cut']
    metas = [META, META | {"parent_asin": "cold/ä", "price": None}, META, b"nothing"]
    found = read_source(write(tmp_path, reviews, metas, packed=True), tmp_path / "run")
    assert found.items.select(["item_id", "numbers", "warm"]).to_pylist() == [
        {"item_id": "B0LAMP0001", "numbers": {"price": 1299.0}, "warm": True},
        {"item_id": "new", "numbers": None, "warm": True},
        {"item_id": "cold/ä", "numbers": {"price": None}, "warm": False},
    ]
    assert found.interactions["review"].to_pylist() == [REVIEW["text"]] * 2
    assert found.interactions["event"].to_pylist() == ["purchase"] * 2
    rows = found.quarantine.select(["source", "row"]).to_pylist()
    assert [tuple(row.values()) for row in rows] == [
        ("Home.jsonl.gz", 2),
        ("Home.jsonl.gz", 4),
        ("meta_Home.jsonl.gz", 3),
        ("meta_Home.jsonl.gz", 4),
    ]


def test_a_gz_file_that_was_damaged_is_named(tmp_path):
    config = write(tmp_path, packed=True)
    path = tmp_path / "Home.jsonl.gz"
    data = bytearray(path.read_bytes())
    data[20:60] = bytes(40)
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"Home\.jsonl\.gz in .* is not a whole gzip file"):
        read_log(config)

import pytest

from llm4rec.errors import DataError
from llm4rec.preprocess.sources import find_layout
from llm4rec.preprocess.sources.yelp import describe, price_range, read_attributes
from tests.preprocess.raw_files import read_catalogue, read_log, source, write_lines
from tests.preprocess.reading import read_source

BUSINESS = {
    "business_id": "b-1_x",
    "name": "Tom &amp; Ann's",
    "address": "1 Main St",
    "city": "Reno",
    "state": "NV",
    "postal_code": "89501",
    "latitude": 39.5,
    "longitude": -119.8,
    "stars": 4.5,
    "review_count": 99,
    "is_open": 0,
    "attributes": {
        "RestaurantsPriceRange2": "2",
        "BusinessAcceptsCreditCards": "True",
        "OutdoorSeating": "True",
        "WiFi": "u'free'",
        "Alcohol": "u'full_bar'",
        "NoiseLevel": "None",
        "Ambience": "{'romantic': False, u'casual': True, 'classy': True}",
        "HasTV": "False",
    },
    "categories": "Coffee & Tea, Food ,Bars, Food",
    "hours": {"Monday": "8:0-22:0"},
}
REVIEW = {
    "review_id": "r1",
    "user_id": "u1",
    "business_id": "b-1_x",
    "stars": 4.0,
    "useful": 1,
    "funny": 0,
    "cool": 0,
    "text": "Good coffee.\nWill return.",
    "date": "2018-07-07 22:09:11",
}
USER = {
    "user_id": "u1",
    "name": "Ann",
    "review_count": 5,
    "yelping_since": "2009-01-25 16:47:26",
    "fans": 3,
    "average_stars": 3.9,
    "friends": "u2, u3",
    "elite": "2015,2016",
}
PREFIX = "yelp_academic_dataset_"


def write(folder, businesses=(BUSINESS,), reviews=(REVIEW,), users=(USER,), packed=False, prefix=PREFIX):
    for part, records in (("business", businesses), ("review", reviews), ("user", users)):
        write_lines(folder / f"{prefix}{part}.json", records, packed)
    return source(folder, "yelp")


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("prefix", [PREFIX, ""])
def test_the_files_are_read_under_either_name(tmp_path, packed, prefix):
    config = write(tmp_path, packed=packed, prefix=prefix)
    (row,), bad = read_log(config)
    assert bad == []
    assert row == {
        "user_id": "u1",
        "item_id": "b-1_x",
        "timestamp": 1531001351,
        "value": 4.0,
        "event": "review",
        "fraction": 0.0,
        "order": 1,
        "review": "Good coffee.\nWill return.",
    }
    found = read_catalogue(config)
    assert found.users == [{"user_id": "u1", "yelping_since": 2009}]
    assert found.items == [
        {
            "item_id": "b-1_x",
            "title": "Tom & Ann's",
            "text": "In Reno, NV. Outdoor seating. Wi fi: free. Alcohol: full bar. Ambience: casual, classy.",
            "categories": ["Coffee & Tea", "Food", "Bars"],
            "numbers": {"latitude": 39.5, "longitude": -119.8, "price_range": 2.0},
            "image": None,
            "audio": None,
        }
    ]


def test_what_is_of_the_end_of_the_log_is_not_read(tmp_path):
    config = write(tmp_path)
    before = read_catalogue(config)
    later = BUSINESS | {"stars": 1.0, "review_count": 7, "is_open": 1}
    write(tmp_path, [later], users=[USER | {"review_count": 0, "fans": 0, "average_stars": 1.0, "friends": "None"}])
    assert read_catalogue(config) == before


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("2", 2.0),
        ("u'2'", 2.0),
        ("'4'", 4.0),
        ("None", None),
        ("u'None'", None),
        ("5", None),
        ("True", None),
        ("", None),
    ],
)
def test_price_ranges_as_they_are_written(cell, expected):
    assert price_range(read_attributes(f'{{"RestaurantsPriceRange2": "{cell}"}}')) == expected


def test_attributes_of_older_dumps_are_json(tmp_path):
    attributes = read_attributes('{"BusinessParking": {"lot": true}, "RestaurantsPriceRange2": 3, "GoodForKids": true}')
    assert price_range(attributes) == 3.0
    assert describe("Reno", None, attributes) == "In Reno. Good for kids."


@pytest.mark.parametrize(
    "cell", [None, "", "None", "[1]", "{cut", "7", '{"a": null, "WiFi": "[1, 2]"}', '{"A": "((((("}']
)
def test_attributes_that_say_nothing(cell):
    assert describe(None, None, read_attributes(cell)) in (None, "A: (((((.")
    assert price_range(read_attributes(cell)) is None


def test_dirty_businesses_reviews_and_users(tmp_path):
    bare = {"business_id": "bare"}
    nulls = {key: None for key in BUSINESS} | {"business_id": "nulls"}
    odd = BUSINESS | {"business_id": "a/b ü", "latitude": "north", "attributes": {"WiFi": "u'\\ud800'"}}
    config = write(
        tmp_path,
        [
            bare,
            nulls,
            odd,
            odd | {"latitude": 1, "categories": ["Food", "Bars"]},
            b'{"business_id": "cut',
            {"name": "x"},
        ],
        [REVIEW, REVIEW | {"date": "soon"}, REVIEW | {"user_id": None}, b"\xff", REVIEW | {"business_id": "a/b ü"}],
        [USER, {"user_id": "u2"}, USER, {"user_id": "u3", "yelping_since": "long ago"}, {"user_id": ""}],
    )
    rows, bad = read_log(config)
    assert [row["item_id"] for row in rows] == ["b-1_x", "a/b ü"]
    assert [row[0] for row in bad] == [2, 3, 4]
    found = read_catalogue(config)
    for item, name in zip(found.items[:2], ("bare", "nulls"), strict=True):
        assert (item["title"], item["text"], item["categories"]) == (name, None, [])
        assert item["numbers"] == {"latitude": None, "longitude": None, "price_range": None}
    assert (found.items[2]["categories"], found.items[2]["text"]) == (["Food", "Bars"], "In Reno, NV. Wi fi: ?.")
    assert found.users == [{"user_id": "u1", "yelping_since": 2009}, {"user_id": "u2", "yelping_since": None}]
    assert found.refused == [
        (3, "yelp_academic_dataset_business.json", "latitude is not a finite number: 'north'"),
        (5, "yelp_academic_dataset_business.json", 'not a JSON object: \'{"business_id": "cut\''),
        (6, "yelp_academic_dataset_business.json", "empty business_id"),
        (3, "yelp_academic_dataset_user.json", "user_id 'u1' was already in row 1"),
        (4, "yelp_academic_dataset_user.json", "yelping_since is not a date: 'long ago'"),
        (5, "yelp_academic_dataset_user.json", "empty user_id"),
    ]


def test_the_photo_that_says_most_of_those_that_exist(tmp_path):
    config = write(tmp_path, [BUSINESS | {"business_id": name} for name in ("b1", "b2", "b3", "b4")])
    photos = [("p1", "b1", "menu"), ("p2", "b1", "inside"), ("p3", "b1", "food"), ("p4", "b1", "inside")]
    photos += [("p5", "b2", "sign"), ("gone", "b3", "food"), ("../../secret", "b4", "food")]
    records = [{"photo_id": photo, "business_id": key, "caption": "", "label": label} for photo, key, label in photos]
    write_lines(tmp_path / "photos.json", [*records, {"photo_id": "p1"}])
    assert [item["image"] for item in read_catalogue(config).items] == [None] * 4
    (tmp_path / "photos").mkdir()
    for name in ("p1", "p2", "p4", "p5"):
        (tmp_path / f"photos/{name}.jpg").write_bytes(b"\xff\xd8")
    found = read_catalogue(config)
    assert [item["image"] for item in found.items] == ["photos/p2.jpg", "photos/p5.jpg", None, None]
    assert found.refused == [(8, "photos.json", "empty business_id")]


def test_missing_files_are_named(tmp_path):
    write_lines(tmp_path / "business.json", [BUSINESS])
    with pytest.raises(
        DataError, match=r"no Yelp data in .*: found business\.json; expected yelp_academic_dataset_bus"
    ):
        find_layout(source(tmp_path, "yelp"))
    write_lines(tmp_path / "review.json", [REVIEW])
    assert read_catalogue(source(tmp_path, "yelp")).users == []


def test_the_whole_stage(tmp_path):
    found = read_source(write(tmp_path, users=[USER | {"user_id": "u0"}, USER]), tmp_path / "run")
    assert found.users.to_pylist() == [{"user_id": "u1", "yelping_since": 2009}]
    assert found.items["numbers"].to_pylist() == [{"latitude": 39.5, "longitude": -119.8, "price_range": 2.0}]
    assert found.interactions["review"].to_pylist() == [REVIEW["text"]]
    assert found.quarantine.num_rows == 0

import pytest
from pydantic import ValidationError

from llm4rec.errors import DataError
from llm4rec.preprocess.catalogue import read_catalogue
from llm4rec.preprocess.chunks import gather, list_chunks, parse_chunk
from llm4rec.preprocess.config import PreprocessConfig, SourceConfig
from llm4rec.preprocess.fingerprint import fingerprint
from llm4rec.preprocess.sources import ML100K_GENRES, find_layout
from llm4rec.preprocess.titles import display_title, split_year

RATINGS = [("1", "10", 5.0, 100), ("2", "20", 3.0, 200)]


def flags(*genres):
    return "|".join(str(int(name in genres)) for name in ML100K_GENRES)


def write_recbole(folder):
    (folder / "ml.inter").write_text(
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t10\t5\t100\n2\t20\t3\t200\n"
    )
    (folder / "ml.item").write_text(
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
        "10\tNet, The\t1995\tSci-Fi Thriller\n20\tunkonwn\tunkonwn\tunknown\n30\tMisérables, Les\t1995\tDrama\n",
        encoding="utf-8",
    )
    (folder / "ml.user").write_text(
        "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n1\t24\tM\ttechnician\t85711\n"
        "2\t53\tF\tother\t94043\n"
    )


def write_ml_100k(folder):
    (folder / "u.data").write_text("1\t10\t5\t100\n2\t20\t3\t200\n")
    (folder / "u.item").write_bytes(
        (
            f"10|Net, The (1995)|01-Jan-1995||http://x|{flags('Sci-Fi', 'Thriller')}\n"
            f"20|unknown||||{flags('unknown')}\n"
            f"30|Misérables, Les (1995)|01-Jan-1995||http://x|{flags('Drama')}\n"
        ).encode("latin-1")
    )
    (folder / "u.user").write_text("1|24|M|technician|85711\n2|53|F|other|94043\n")


def write_ml_1m(folder):
    (folder / "ratings.dat").write_text("1::10::5::100\n2::20::3::200\n")
    (folder / "movies.dat").write_bytes(
        "10::Net, The (1995)::Sci-Fi|Thriller\n20::unknown::unknown\n30::Misérables, Les (1995)::Drama\n".encode(
            "latin-1"
        )
    )
    (folder / "users.dat").write_text("1::M::24::technician::85711\n2::F::53::other::94043\n")


def write_ml_latest(folder):
    (folder / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,10,5.0,100\n2,20,3.0,200\n")
    (folder / "movies.csv").write_text(
        'movieId,title,genres\n10,"Net, The (1995)",Sci-Fi|Thriller\n20,unknown,(no genres listed)\n'
        '30,"Misérables, Les (1995)",Drama\n',
        encoding="utf-8",
    )


@pytest.mark.parametrize("write", [write_recbole, write_ml_100k, write_ml_1m, write_ml_latest])
def test_movielens_layouts_are_recognised_and_read_alike(tmp_path, write):
    write(tmp_path)
    source = SourceConfig(path=str(tmp_path))
    log = gather(parse_chunk(chunk) for chunk in list_chunks(source, 2**20))
    rows = log.interactions.to_pylist()
    assert [(row["user_id"], row["item_id"], row["value"], row["timestamp"]) for row in rows] == RATINGS
    assert {row["event"] for row in rows} == {"rating"}
    catalogue = read_catalogue(source)
    assert catalogue.quarantine.num_rows == 0
    assert catalogue.items["item_id"].to_pylist() == ["10", "20", "30"]
    assert catalogue.items["title"].to_pylist() == ["The Net (1995)", "20", "Les Misérables (1995)"]
    assert catalogue.items["categories"].to_pylist() == [["Sci-Fi", "Thriller"], [], ["Drama"]]
    assert catalogue.items["numbers"].to_pylist() == [{"year": 1995.0}, {"year": None}, {"year": 1995.0}]
    if write is not write_ml_latest:
        assert sorted(catalogue.users.column_names) == ["age", "gender", "occupation", "user_id"]
        assert catalogue.users.to_pylist()[0] == {"user_id": "1", "age": 24, "gender": "M", "occupation": "technician"}


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("Hunt for Red October, The (1990)", "The Hunt for Red October (1990)"),
        (
            "Horseman on the Roof, The (Hussard sur le toit, Le) (1995)",
            "The Horseman on the Roof (Le Hussard sur le toit) (1995)",
        ),
        ("America, L' (1994)", "L'America (1994)"),
        ("Mrs. Brown (Her Majesty, Mrs. Brown) (1997)", "Mrs. Brown (Her Majesty, Mrs. Brown) (1997)"),
        ("2001: A Space Odyssey (1968)", "2001: A Space Odyssey (1968)"),
        ("Fawlty Towers (1975-1979)", "Fawlty Towers (1975)"),
        ("Seven (Se7en)", "Seven (Se7en)"),
    ],
)
def test_titles(raw, shown):
    assert display_title(*split_year(raw)) == shown


def tabular(folder, **sections):
    return SourceConfig.model_validate({"format": "tabular", "path": str(folder), "tabular": sections})


def test_tabular_catalogue_maps_columns_and_quarantines_what_it_must(tmp_path):
    (tmp_path / "log.csv").write_text("user_id,item_id\nu,a\n")
    (tmp_path / "items.csv").write_text(
        'sku,name,about,tags,price,photo\na,"Lamp, red","Two\nlines",light;home,9.5,a.jpg\n'
        "b,,,,,\na,Again,,,1,\nc,Chair,,home,cheap,\n,Nameless,,,,\nd,Desk,,home;,12,\n"
    )
    (tmp_path / "users.csv").write_text("user_id,plan,age\nu,gold,41\nv,,\nw,tin,old\n")
    source = tabular(
        tmp_path,
        interactions={"file": "log.csv"},
        items={
            "file": "items.csv",
            "item_id": "sku",
            "title": "name",
            "text": "about",
            "categories": "tags",
            "separator": ";",
            "numbers": ["price"],
            "image": "photo",
        },  # fmt: skip
        users={"file": "users.csv", "attributes": ["plan"], "numbers": ["age"]},
    )
    catalogue = read_catalogue(source)
    lamp, bare, desk = catalogue.items.to_pylist()
    assert lamp == {
        "item_id": "a", "title": "Lamp, red", "text": "Two\nlines", "categories": ["light", "home"],
        "numbers": {"price": 9.5}, "image": "a.jpg", "audio": None,
    }  # fmt: skip
    assert (bare["title"], bare["categories"], bare["numbers"], bare["image"]) == ("b", [], {"price": None}, None)
    assert (desk["categories"], desk["numbers"]) == (["home"], {"price": 12.0})
    assert catalogue.users.to_pylist() == [
        {"user_id": "u", "age": 41, "plan": "gold"},
        {"user_id": "v", "age": None, "plan": None},
    ]
    assert [tuple(row.values()) for row in catalogue.quarantine.to_pylist()] == [
        (5, "items.csv", "sku 'a' was already in row 2"),
        (6, "items.csv", "price is not a finite number: 'cheap'"),
        (7, "items.csv", "empty sku"),
        (4, "users.csv", "age is not a finite number: 'old'"),
    ]


def test_json_catalogue_takes_lists(tmp_path):
    (tmp_path / "log.csv").write_text("user_id,item_id\nu,a\n")
    (tmp_path / "items.jsonl").write_text('{"item_id": 7, "tags": ["x", "y z"], "price": 2}\n{"item_id": "b"}\n')
    items = {"file": "items.jsonl", "categories": "tags", "numbers": ["price"]}
    table = read_catalogue(tabular(tmp_path, interactions={"file": "log.csv"}, items=items)).items
    assert table["item_id"].to_pylist() == ["7", "b"]
    assert table["categories"].to_pylist() == [["x", "y z"], []]
    assert table["numbers"].to_pylist() == [{"price": 2.0}, {"price": None}]


def test_faults_of_the_folder_are_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere' does not exist; it must be the folder of the raw files"):
        find_layout(SourceConfig(path=str(tmp_path / "nowhere")))
    (tmp_path / "notes.md").write_text("hello")
    with pytest.raises(DataError, match=r"found notes\.md; expected one of: \*\.inter .*ratings\.csv"):
        find_layout(SourceConfig(path=str(tmp_path)))
    with pytest.raises(DataError, match="is a file"):
        find_layout(SourceConfig(path=str(tmp_path / "notes.md")))
    with pytest.raises(DataError, match=r"source.path 'warp://x' cannot be opened"):
        find_layout(SourceConfig(path="warp://x"))


def test_faults_of_the_files_are_named(tmp_path):
    (tmp_path / "u.data").write_text("")
    with pytest.raises(DataError, match=r"u\.data in .* is empty"):
        list_chunks(SourceConfig(path=str(tmp_path)), 100)
    with pytest.raises(DataError, match=r"log\.csv not found in .*; found: u\.data"):
        find_layout(tabular(tmp_path, interactions={"file": "log.csv"}))
    (tmp_path / "log.csv").write_text("user,item_id\n")
    with pytest.raises(DataError, match=r"log\.csv: no column 'user_id'; it has 'user', 'item_id'"):
        find_layout(tabular(tmp_path, interactions={"file": "log.csv"}))
    (tmp_path / "log.parquet").write_text("user,item_id\n")
    with pytest.raises(DataError, match=r"log\.parquet in .* is not a Parquet file"):
        find_layout(tabular(tmp_path, interactions={"file": "log.parquet"}))
    (tmp_path / "log.xls").write_text("x")
    with pytest.raises(DataError, match="format not known by its ending"):
        find_layout(tabular(tmp_path, interactions={"file": "log.xls"}))


def test_config_refuses_what_cannot_work():
    with pytest.raises(ValidationError, match="needs a 'tabular' section"):
        SourceConfig(format="tabular", path="x")
    with pytest.raises(ValidationError, match="needs format 'tabular'"):
        SourceConfig.model_validate({"path": "x", "tabular": {"interactions": {"file": "a.csv"}}})
    with pytest.raises(ValidationError, match="must stay below 1"):
        PreprocessConfig(valid_fraction=0.5, test_fraction=0.5)


def test_fingerprint_follows_content_and_ignores_other_files(tmp_path):
    write_recbole(tmp_path)
    source = SourceConfig(path=str(tmp_path))
    before = fingerprint(source)
    (tmp_path / "notes.md").write_text("hello")
    assert fingerprint(source) == before
    users = (tmp_path / "ml.user").read_text()
    (tmp_path / "ml.user").write_text(users.replace("24", "25"))
    assert fingerprint(source) != before


def test_folder_uri_reads_like_a_path(tmp_path):
    write_ml_latest(tmp_path)
    source = SourceConfig(path=f"file://{tmp_path}")
    parsed = [parse_chunk(chunk) for chunk in list_chunks(source, 20)]
    assert gather(parsed).interactions["item_id"].to_pylist() == ["10", "20"]
    assert fingerprint(source) == fingerprint(SourceConfig(path=str(tmp_path)))

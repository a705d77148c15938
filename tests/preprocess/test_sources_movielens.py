import gzip

import pytest

from llm4rec.errors import DataError
from llm4rec.preprocess.fingerprint import fingerprint
from llm4rec.preprocess.sources import find_layout
from llm4rec.preprocess.sources.movielens import ML100K_GENRES
from llm4rec.preprocess.tags import NUM_TAGS
from llm4rec.preprocess.titles import display_title, split_year
from tests.preprocess.raw_files import read_catalogue, read_log, source

RATINGS = [("1", "10", 5.0, 100), ("2", "20", 3.0, 200)]


def flags(*genres):
    return "|".join(str(int(name in genres)) for name in ML100K_GENRES)


def write_recbole(folder, genres="class"):
    (folder / "ml.inter").write_text(
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t10\t5\t100\n2\t20\t3\t200\n"
    )
    (folder / "ml.item").write_text(
        f"item_id:token\tmovie_title:token_seq\trelease_year:token\t{genres}:token_seq\n"
        "10\tNet, The\t1995\tSci-Fi Thriller\n20\tunkonwn\tunkonwn\tunknown\n30\tMisérables, Les\t1995\tDrama\n",
        encoding="utf-8",
    )
    (folder / "ml.user").write_text(
        "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n1\t24\tM\ttechnician\t85711\n"
        "2\t53\tF\tother\t94043\n"
    )


def write_recbole_ml_1m(folder):
    write_recbole(folder, genres="genre")


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


def write_dat(folder, encoding):
    (folder / "ratings.dat").write_text("1::10::5::100\n2::20::3::200\n")
    (folder / "movies.dat").write_text(
        "10::Net, The (1995)::Sci-Fi|Thriller\n20::unknown::unknown\n30::Misérables, Les (1995)::Drama\n",
        encoding=encoding,
    )


def write_ml_1m(folder):
    write_dat(folder, "latin-1")
    (folder / "users.dat").write_text("1::M::24::technician::85711\n2::F::53::other::94043\n")


def write_ml_10m(folder):
    write_dat(folder, "utf-8")
    (folder / "tags.dat").write_text("1::40::not in the catalogue::100\n")


def write_ml_latest(folder):
    (folder / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,10,5.0,100\n2,20,3.0,200\n")
    (folder / "movies.csv").write_text(
        'movieId,title,genres\n10,"Net, The (1995)",Sci-Fi|Thriller\n20,unknown,(no genres listed)\n'
        '30,"Misérables, Les (1995)",Drama\n',
        encoding="utf-8",
    )
    (folder / "links.csv").write_text("movieId,imdbId,tmdbId\n10,1,2\n")


LAYOUTS = [write_recbole, write_recbole_ml_1m, write_ml_100k, write_ml_1m, write_ml_10m, write_ml_latest]


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("write", LAYOUTS)
def test_layouts_are_recognised_and_read_alike(tmp_path, write, packed):
    write(tmp_path)
    for path in list(tmp_path.iterdir()) if packed else []:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    rows, bad = read_log(source(tmp_path))
    assert bad == []
    assert [(row["user_id"], row["item_id"], row["value"], row["timestamp"]) for row in rows] == RATINGS
    assert {row["event"] for row in rows} == {"rating"}
    found = read_catalogue(source(tmp_path))
    assert found.refused == []
    assert [(row["item_id"], row["title"], row["categories"], row["numbers"]["year"]) for row in found.items] == [
        ("10", "The Net (1995)", ["Sci-Fi", "Thriller"], 1995.0),
        ("20", "20", [], None),
        ("30", "Les Misérables (1995)", ["Drama"], 1995.0),
    ]
    if write in (write_ml_latest, write_ml_10m):
        assert found.users == []
    else:
        assert found.users[0] == {"user_id": "1", "age": 24, "gender": "M", "occupation": "technician"}


@pytest.mark.parametrize(
    ("raw", "expected"),
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
def test_titles(raw, expected):
    assert display_title(*split_year(raw)) == expected


def write_tags(folder, *rows):
    (folder / "tags.csv").write_text("\n".join(["userId,movieId,tag,timestamp", *rows, ""]), encoding="utf-8")


def texts(config):
    return {row["item_id"]: row["text"] for row in read_catalogue(config).items}


def test_tags_are_ranked_by_the_users_who_gave_them(tmp_path):
    write_ml_latest(tmp_path)
    write_tags(
        tmp_path,
        *("1,10,spy,1", "2,10,Spy,1", "3,10,computers,1", "3,10,computers,2"),
        *('4,10,"a ""good"" one",1', "4,10,  ,1", "5,,lost,1", "5,30", "6,99,elsewhere,1"),
    )
    # Two users for spy; of those with one, whatever the rows, the alphabet decides.
    assert texts(source(tmp_path)) == {"10": 'Tags: spy, a "good" one, computers.', "20": None, "30": None}
    assert read_catalogue(source(tmp_path)).refused == [
        (7, "tags.csv", "empty tag"),
        (8, "tags.csv", "empty movieId"),
        (9, "tags.csv", "expected 4 columns, found 2: '5,30'"),
    ]
    assert texts(source(tmp_path, movielens={"tags": False}))["10"] is None


def test_an_item_shows_its_ten_first_tags(tmp_path):
    write_ml_latest(tmp_path)
    write_tags(tmp_path, *(f"1,10,tag{place:02d},1" for place in range(NUM_TAGS + 5)))
    assert texts(source(tmp_path))["10"] == f"Tags: {', '.join(f'tag{n:02d}' for n in range(NUM_TAGS))}."


def test_ml_10m_tags_are_read_as_utf8(tmp_path):
    write_ml_10m(tmp_path)
    (tmp_path / "tags.dat").write_text("1::10::cinéma vérité::100\n", encoding="utf-8")
    assert texts(source(tmp_path))["10"] == "Tags: cinéma vérité."


def write_genome(folder, scores):
    (folder / "genome-tags.csv").write_text("tagId,tag\n1,space\n2,toys\n3,\n4,fun\n")
    (folder / "genome-scores.csv").write_text("\n".join(["movieId,tagId,relevance", *scores, ""]))


def test_genome_names_the_most_relevant_tags(tmp_path):
    write_ml_latest(tmp_path)
    write_tags(tmp_path, "1,10,spy,1")
    scores = ["10,1,0.2", "10,2,0.9", "30,1,0.5", "30,4,0.5", "10,4,0.9", "10,9,1", "10,1,much", "10,2", "x\0,1,1"]
    write_genome(tmp_path, scores)
    found = texts(source(tmp_path))
    assert found == {"10": "Tags: spy.\nThemes: toys, fun, space.", "20": None, "30": "Themes: space, fun."}
    assert read_catalogue(source(tmp_path)).refused == [
        (4, "genome-tags.csv", "empty tagId or tag"),
        (7, "genome-scores.csv", "tagId '9' is not in genome-tags.csv"),
        (8, "genome-scores.csv", "relevance is not a finite number: 'much'"),
        (9, "genome-scores.csv", "expected 3 columns, found 2: '10,2'"),
        (10, "genome-scores.csv", "holds a NUL byte: b'x\\x00,1,1'"),
    ]
    assert texts(source(tmp_path, movielens={"genome": False}))["10"] == "Tags: spy."


def test_genome_keeps_the_best_over_any_number_of_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr("llm4rec.preprocess.small_files._PIECE_BYTES", 40)
    monkeypatch.setattr("llm4rec.preprocess.tags.NUM_TAGS", 2)
    write_ml_latest(tmp_path)
    write_genome(tmp_path, ["10,1,0.3", "30,1,0.1", "30,2,0.4", "10,2,0.1", "30,4,0.3", "10,4,0.2"])
    assert texts(source(tmp_path)) == {"10": "Themes: space, fun.", "20": None, "30": "Themes: toys, fun."}


def test_the_files_read_are_listed_for_the_fingerprint(tmp_path):
    write_ml_latest(tmp_path)
    write_tags(tmp_path, "1,10,spy,1")
    write_genome(tmp_path, ["10,1,0.3"])
    listed = find_layout(source(tmp_path)).files
    assert listed == ["genome-scores.csv", "genome-tags.csv", "movies.csv", "ratings.csv", "tags.csv"]
    before = fingerprint(source(tmp_path))
    (tmp_path / "notes.md").write_text("hello")
    (tmp_path / "links.csv").write_text("movieId,imdbId,tmdbId\n10,3,4\n")
    assert fingerprint(source(tmp_path)) == before
    write_tags(tmp_path, "1,10,spx,1")
    assert fingerprint(source(tmp_path)) != before


def test_media_that_are_added_or_removed_change_the_fingerprint(tmp_path):
    write_ml_latest(tmp_path)
    with_images = source(tmp_path).model_copy(update={"images": "photos/{item_id}.jpg"})
    plain, before = fingerprint(source(tmp_path)), fingerprint(with_images)
    assert before == plain, "there are none yet"
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "10.jpg").write_bytes(b"1")
    (tmp_path / "photos" / "notes.txt").write_text("no photo")
    one = fingerprint(with_images)
    assert one != before and fingerprint(source(tmp_path)) == plain
    (tmp_path / "photos" / "10.jpg").rename(tmp_path / "photos" / "20.jpg")
    assert fingerprint(with_images) not in {one, before}


def test_which_of_two_recbole_logs_is_meant_is_not_guessed(tmp_path):
    write_recbole(tmp_path)
    (tmp_path / "ml.test.inter").write_text((tmp_path / "ml.inter").read_text())
    with pytest.raises(DataError, match=r"holds 2 logs, ml\.inter, ml\.test\.inter; put all .* into one file"):
        find_layout(source(tmp_path))


def test_a_folder_without_movielens_data_is_named(tmp_path):
    (tmp_path / "notes.md").write_text("hello")
    with pytest.raises(DataError, match=r"found notes\.md; expected one of: \*\.inter .*ratings\.csv"):
        find_layout(source(tmp_path))
    (tmp_path / "u.data").write_text("")
    with pytest.raises(DataError, match=r"u\.data in .* is empty"):
        find_layout(source(tmp_path))

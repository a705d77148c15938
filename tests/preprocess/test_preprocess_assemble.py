import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llm4rec.artifacts import RunStore
from llm4rec.errors import DataError
from llm4rec.preprocess.config import ItemsFile, PreprocessConfig, SourceConfig
from llm4rec.preprocess.single_process import preprocess
from llm4rec.preprocess.write import split_hash, write_corpus
from llm4rec.schema import TEST, Corpus

LOOSE = PreprocessConfig(min_user_interactions=1, min_item_interactions=1)


def source(folder, rows, items=None, users=None, times=True):
    lines = ["user_id,item_id,t,event", *(",".join(map(str, row)) for row in rows)]
    (folder / "log.csv").write_text("\n".join(lines))
    mapping = {"interactions": {"file": "log.csv", "timestamp": "t" if times else None, "event": "event"}}
    if items is not None:
        (folder / "items.csv").write_text("\n".join(["item_id,title", *items]))
        mapping["items"] = {"file": "items.csv", "title": "title"}
    if users is not None:
        (folder / "users.csv").write_text("\n".join(["user_id,plan", *users]))
        mapping["users"] = {"file": "users.csv", "attributes": ["plan"]}
    return SourceConfig.model_validate({"format": "tabular", "path": str(folder), "tabular": mapping})


ROWS = [
    ("ann", "x", 30, "buy"),
    ("bob", "x", 10, "click"),
    ("ann", "y", 20, "click"),
    ("ann", "new", 20, "click"),
    ("ann", "y", 20, "click"),
    ("bob", "z", 10, "click"),
    ("bob", "y", 10, "click"),
    ("ann", "y", 20, "buy"),
]


def test_corpus_by_hand(tmp_path):
    found = preprocess(
        source(tmp_path, ROWS, ["cold,Cold", "z,Zed", "x,Ex", "y,Why"], ["eve,tin", "bob,gold", "ann,tin"]), LOOSE
    )
    assert found.items.select(["item_id", "title", "warm"]).to_pylist() == [
        {"item_id": "z", "title": "Zed", "warm": True},
        {"item_id": "x", "title": "Ex", "warm": True},
        {"item_id": "y", "title": "Why", "warm": True},
        {"item_id": "new", "title": "new", "warm": True},
        {"item_id": "cold", "title": "Cold", "warm": False},
    ]
    assert found.num_warm_items == 4
    assert found.users.to_pylist() == [{"user_id": "bob", "plan": "gold"}, {"user_id": "ann", "plan": "tin"}]
    rows = found.interactions.select(["user", "item", "timestamp", "event", "split", "split_temporal"]).to_pylist()
    # Rows at one moment keep the order of the file.
    assert [tuple(row.values()) for row in rows] == [
        (0, 1, 10, "click", "train", "train"),
        (0, 0, 10, "click", "valid", "train"),
        (0, 2, 10, "click", "test", "train"),
        (1, 2, 20, "click", "train", "train"),
        (1, 3, 20, "click", "train", "train"),
        (1, 2, 20, "buy", "valid", "train"),
        (1, 1, 30, "buy", "test", "test"),
    ]
    assert found.events == ("buy", "click")
    (refused,) = found.quarantine.to_pylist()
    assert (refused["row"], refused["source"]) == (6, "log.csv")
    assert refused["reason"] == "same user, item, timestamp and event as an earlier row: 'ann', 'y'"


def test_without_catalogue_and_users_rows_are_made_from_the_ids_seen(tmp_path):
    found = preprocess(source(tmp_path, ROWS), LOOSE)
    assert found.items["title"].to_pylist() == ["x", "y", "new", "z"]
    assert found.items["warm"].to_pylist() == [True] * 4
    assert found.users.to_pylist() == [{"user_id": "ann"}, {"user_id": "bob"}]


def test_media_bytes_survive_and_an_item_that_the_catalogue_lacks_has_none(tmp_path):
    table = pa.table({"item_id": ["x"], "tags": [["a", "b"]], "price": [float("nan")], "photo": [b"\xff\xd8"]})
    pq.write_table(table, tmp_path / "items.parquet")
    raw = source(tmp_path, ROWS)
    items = ItemsFile(file="items.parquet", categories="tags", numbers=("price",), image="photo")
    raw = raw.model_copy(update={"tabular": raw.tabular.model_copy(update={"items": items})})
    found = preprocess(raw, LOOSE)
    assert found.items["image"].to_pylist() == [b"\xff\xd8", None, None, None]
    assert found.items["categories"].to_pylist()[0] == ["a", "b"]
    assert found.items["numbers"].to_pylist() == [{"price": None}, None, None, None]
    again = write(tmp_path / "run", found).read_table("items")
    assert again.equals(found.items)


def test_a_user_that_the_users_file_lacks_has_null_attributes(tmp_path):
    found = preprocess(source(tmp_path, ROWS, users=["bob,gold"]), LOOSE)
    assert found.users.to_pylist() == [{"user_id": "bob", "plan": "gold"}, {"user_id": "ann", "plan": None}]


def test_a_log_without_times_is_ordered_by_row_and_keeps_repeats(tmp_path):
    found = preprocess(source(tmp_path, ROWS, times=False), LOOSE)
    assert found.interactions["timestamp"].to_pylist() == [2, 4, 5, 6, 9, 3, 7, 8]
    assert found.quarantine.num_rows == 0


def test_k_core_drops_thin_users_and_leaves_their_items_cold(tmp_path):
    rows = [(user, item, n, "e") for n, (user, item) in enumerate([*(2 * [("a", "x"), ("b", "x")]), ("c", "y")])]
    config = PreprocessConfig(min_user_interactions=2, min_item_interactions=2)
    found = preprocess(source(tmp_path, rows, ["y,Why", "x,Ex"]), config)
    assert found.users["user_id"].to_pylist() == ["a", "b"]
    assert found.items.select(["item_id", "warm"]).to_pylist() == [
        {"item_id": "x", "warm": True},
        {"item_id": "y", "warm": False},
    ]


def test_a_k_core_that_leaves_nothing_is_an_error(tmp_path):
    with pytest.raises(DataError, match="none of 7 interactions is left with min_user_interactions=5"):
        preprocess(source(tmp_path, ROWS), PreprocessConfig())


def test_max_users_keeps_the_same_users_whatever_the_order(tmp_path):
    rows = [(f"u{n}", "x", n, "e") for n in range(50)]
    config = LOOSE.model_copy(update={"max_users": 7})
    chosen = set(preprocess(source(tmp_path, rows), config).users["user_id"].to_pylist())
    assert len(chosen) == 7
    assert set(preprocess(source(tmp_path, rows[::-1]), config).users["user_id"].to_pylist()) == chosen
    more = preprocess(source(tmp_path, rows), LOOSE.model_copy(update={"max_users": 9})).users["user_id"].to_pylist()
    assert chosen < set(more)


def write(folder, found):
    store = RunStore(str(folder))
    with store.write("corpus", {"config_hash": "x"}) as writer:
        write_corpus(writer, found)
    return store.open("corpus")


def test_what_is_written_reads_back_and_is_the_same_bytes_for_any_chunk_size(tmp_path):
    raw = source(tmp_path, ROWS, ["cold,Cold", "z,Zed", "x,Ex"], ["ann,tin", "bob,gold"])
    small = preprocess(raw, LOOSE.model_copy(update={"chunk_bytes": 9}))
    artifact = write(tmp_path / "one", preprocess(raw, LOOSE))
    assert write(tmp_path / "two", small).hash == artifact.hash
    corpus = Corpus.read(artifact)
    assert (corpus.num_users, corpus.num_items, corpus.num_warm_items, corpus.events) == (2, 5, 4, ("buy", "click"))
    held_out = corpus.part(TEST)
    assert [corpus.user_ids[code] for code in held_out.user] == ["ann", "bob"]
    assert [corpus.item_ids[code] for code in held_out.item] == ["x", "y"]
    assert len(Corpus.read(artifact, "temporal").part(TEST)) == 1
    info = artifact.read_json("corpus.json")
    assert info["time_span"] == [10, 30]
    assert (info["num_users"], info["num_interactions"]) == (2, 7)
    assert artifact.read_table("quarantine").column_names == ["row", "source", "reason"]


def test_split_hash_sees_held_out_rows_only():
    table = pa.table({"user_id": ["a", "a", "b"], "item_id": ["x", "y", "z"], "split": ["train", "valid", "test"]})
    same = table.set_column(1, "item_id", pa.array(["other", "y", "z"]))
    moved = table.set_column(1, "item_id", pa.array(["x", "y", "other"]))
    swapped = table.set_column(2, "split", pa.array(["train", "test", "valid"]))
    assert split_hash(same) == split_hash(table)
    assert len({split_hash(table), split_hash(moved), split_hash(swapped)}) == 3

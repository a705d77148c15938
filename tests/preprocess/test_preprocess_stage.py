import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llm4rec.artifacts import RunStore
from llm4rec.errors import DataError
from llm4rec.preprocess.config import ItemsFile, PreprocessConfig, SourceConfig
from llm4rec.preprocess.finish import held_out_sum
from llm4rec.preprocess.single_process import write_preprocessed
from llm4rec.schema import TEST, Corpus, user_hash
from tests.preprocess import reading
from tests.preprocess.reading import LOOSE


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


def preprocess(raw, config, run="run"):
    return reading.preprocess(raw, config, f"{raw.path}/{run}")


def column(artifact, table, name):
    return artifact.read_table(table)[name].to_pylist()


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
    assert found.read_table("items", ["item_id", "title", "warm"]).to_pylist() == [
        {"item_id": "z", "title": "Zed", "warm": True},
        {"item_id": "x", "title": "Ex", "warm": True},
        {"item_id": "y", "title": "Why", "warm": True},
        {"item_id": "new", "title": "new", "warm": True},
        {"item_id": "cold", "title": "Cold", "warm": False},
    ]
    users = [{"user_id": "ann", "plan": "tin"}, {"user_id": "bob", "plan": "gold"}]
    assert found.read_table("users").to_pylist() == users
    columns = ["user", "item", "timestamp", "event", "split", "split_temporal"]
    rows = found.read_table("interactions", columns).to_pylist()
    # Rows at one moment keep the order of the file.
    assert [tuple(row.values()) for row in rows] == [
        (0, 2, 20, "click", "train", "train"),
        (0, 3, 20, "click", "train", "train"),
        (0, 2, 20, "buy", "valid", "train"),
        (0, 1, 30, "buy", "test", "test"),
        (1, 1, 10, "click", "train", "train"),
        (1, 0, 10, "click", "valid", "train"),
        (1, 2, 10, "click", "test", "train"),
    ]
    info = found.read_json("corpus.json")
    assert (info["num_warm_items"], info["events"]) == (4, ["buy", "click"])
    (refused,) = found.read_table("quarantine").to_pylist()
    assert (refused["row"], refused["source"]) == (6, "log.csv")
    assert refused["reason"] == "same user, item, timestamp and event as an earlier row: 'ann', 'y'"


def test_without_catalogue_and_users_rows_are_made_from_the_ids_seen(tmp_path):
    found = preprocess(source(tmp_path, ROWS), LOOSE)
    assert column(found, "items", "title") == ["x", "y", "new", "z"]
    assert column(found, "items", "warm") == [True] * 4
    assert found.read_table("users").to_pylist() == [{"user_id": "ann"}, {"user_id": "bob"}]


def test_media_bytes_survive_and_an_item_that_the_catalogue_lacks_has_none(tmp_path):
    table = pa.table({"item_id": ["x"], "tags": [["a", "b"]], "price": [float("nan")], "photo": [b"\xff\xd8"]})
    pq.write_table(table, tmp_path / "items.parquet")
    raw = source(tmp_path, ROWS)
    items = ItemsFile(file="items.parquet", categories=("tags",), numbers=("price",), image="photo")
    raw = raw.model_copy(update={"tabular": raw.tabular.model_copy(update={"items": items})})
    found = preprocess(raw, LOOSE)
    assert column(found, "items", "image") == [b"\xff\xd8", None, None, None]
    assert column(found, "items", "categories")[0] == ["a", "b"]
    assert column(found, "items", "numbers") == [{"price": None}, None, None, None]


def test_a_user_that_the_users_file_lacks_has_null_attributes(tmp_path):
    found = preprocess(source(tmp_path, ROWS, users=["bob,gold"]), LOOSE)
    users = [{"user_id": "ann", "plan": None}, {"user_id": "bob", "plan": "gold"}]
    assert found.read_table("users").to_pylist() == users


def test_a_log_without_times_is_ordered_by_row_and_keeps_repeats(tmp_path):
    found = preprocess(source(tmp_path, ROWS, times=False), LOOSE)
    assert column(found, "interactions", "timestamp") == [2, 4, 5, 6, 9, 3, 7, 8]
    assert found.read_table("quarantine").num_rows == 0


def test_users_who_are_forgotten_are_left_out(tmp_path):
    store = RunStore(str(tmp_path / "run"))
    raw = source(tmp_path, [*ROWS, ("eve", "only hers", 5, "click")])
    with store.write("corpus", {}) as writer:
        write_preprocessed(writer, raw, LOOSE, frozenset({user_hash("ann"), user_hash("somebody else")}))
    found = store.open("corpus")
    assert column(found, "users", "user_id") == ["bob", "eve"]
    assert set(column(found, "interactions", "user_id")) == {"bob", "eve"}
    assert column(found, "quarantine", "reason") == []  # which would name them


def test_k_core_drops_thin_users_and_leaves_their_items_cold(tmp_path):
    rows = [(user, item, n, "e") for n, (user, item) in enumerate([*(2 * [("a", "x"), ("b", "x")]), ("c", "y")])]
    config = PreprocessConfig(min_user_interactions=2, min_item_interactions=2)
    found = preprocess(source(tmp_path, rows, ["y,Why", "x,Ex"]), config)
    assert column(found, "users", "user_id") == ["a", "b"]
    assert found.read_table("items", ["item_id", "warm"]).to_pylist() == [
        {"item_id": "x", "warm": True},
        {"item_id": "y", "warm": False},
    ]


def test_a_k_core_that_leaves_nothing_is_an_error(tmp_path):
    with pytest.raises(DataError, match="none of 7 interactions is left with min_user_interactions=5"):
        preprocess(source(tmp_path, ROWS), PreprocessConfig())


def test_max_users_keeps_the_same_users_whatever_the_order(tmp_path):
    rows = [(f"u{n}", "x", n, "e") for n in range(50)]

    def chosen(rows, count):
        return set(
            column(
                preprocess(source(tmp_path, rows), LOOSE.model_copy(update={"max_users": count})), "users", "user_id"
            )
        )

    assert len(chosen(rows, 7)) == 7
    assert chosen(rows[::-1], 7) == chosen(rows, 7) < chosen(rows, 9)


def test_what_is_written_reads_back_and_is_the_same_bytes_for_any_chunk_size(tmp_path):
    raw = source(tmp_path, ROWS, ["cold,Cold", "z,Zed", "x,Ex"], ["ann,tin", "bob,gold"])
    artifact = preprocess(raw, LOOSE, "one")
    assert preprocess(raw, LOOSE.model_copy(update={"chunk_bytes": 9}), "two").hash == artifact.hash
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


def test_buckets_change_the_order_of_users_and_nothing_else(tmp_path):
    rows = [(f"u{n % 17}", f"i{n % 5}", n // 3, "e") for n in range(120)]
    raw = source(tmp_path, rows, ["i3,Three", "cold,Cold", "i0,Zero"], ["u3,tin"])
    one = preprocess(raw, LOOSE, "one")
    many = preprocess(raw, LOOSE.model_copy(update={"bucket_bytes": 100, "chunk_bytes": 64}), "many")
    assert len(many.parts("interactions")) > 5
    assert sorted(column(one, "users", "user_id")) == sorted(column(many, "users", "user_id"))
    for corpus in (Corpus.read(one), Corpus.read(many)):
        assert corpus.interactions.user.tolist() == sorted(corpus.interactions.user)
        assert len(corpus.histories(TEST)) == 17
    keys = ["user_id", "item_id", "timestamp", "value", "event", "split", "split_temporal", "item"]
    order = [(key, "ascending") for key in ["user_id", "timestamp", "item_id"]]
    rows_of = [artifact.read_table("interactions", keys).sort_by(order).to_pylist() for artifact in (one, many)]
    assert rows_of[0] == rows_of[1]
    assert one.read_table("items").to_pylist() == many.read_table("items").to_pylist()
    assert one.read_json("corpus.json") == many.read_json("corpus.json")


def test_the_split_hash_sees_held_out_rows_only_and_adds_up():
    table = pa.table({"user_id": ["a", "a", "b"], "item_id": ["x", "y", "z"], "split": ["train", "valid", "test"]})
    same = table.set_column(1, "item_id", pa.array(["other", "y", "z"]))
    moved = table.set_column(1, "item_id", pa.array(["x", "y", "other"]))
    swapped = table.set_column(2, "split", pa.array(["train", "test", "valid"]))
    assert held_out_sum(same) == held_out_sum(table)
    assert len({held_out_sum(table), held_out_sum(moved), held_out_sum(swapped)}) == 3
    parts = sum(int(held_out_sum(table.slice(row, 1)), 16) for row in range(3)) % 2**256
    assert f"{parts:064x}" == held_out_sum(table)

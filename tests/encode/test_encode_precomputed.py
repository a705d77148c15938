from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llm4rec.config import validate
from llm4rec.encode.config import EncodeConfig, PrecomputedConfig
from llm4rec.encode.precomputed import PrecomputedVectors, fingerprint, read_precomputed
from llm4rec.errors import ConfigError, DataError

VECTORS = np.array([[1, 10, 7], [2, 30, 7], [3, 25, 7], [6, 20, 7]], np.float64)


def scaled(rows: np.ndarray) -> np.ndarray:
    """What the documentation says, the long way."""
    centred = rows - rows.mean(axis=0)
    deviation = rows.std(axis=0)
    divided = np.where(deviation > 0, centred / np.where(deviation > 0, deviation, 1), 0)
    return divided / np.linalg.norm(divided, axis=1, keepdims=True)


def read(folder: Path, **settings: object) -> PrecomputedVectors:
    return read_precomputed("sound", PrecomputedConfig.model_validate(settings), str(folder))


def refusal(folder: Path, **settings: object) -> str:
    with pytest.raises(DataError) as caught:
        read(folder, **settings)
    return str(caught.value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    np.save(tmp_path / "v.npy", VECTORS)
    return tmp_path


def test_rows_may_be_ids(folder):
    modality = read(folder, path="v.npy", row_is_id=True).of(["2", "0", "9", "x", "3"])
    assert modality.present.tolist() == [True, True, False, False, True]
    np.testing.assert_allclose(modality.vectors[[1, 0, 4]], scaled(VECTORS)[[0, 2, 3]], atol=1e-6)
    assert not modality.vectors[2:4].any() and modality.vectors.dtype == np.float32


@pytest.mark.parametrize(
    ("name", "text", "column"),
    [
        ("ids.txt", "a\nb\nc\nd\n", None),
        ("ids.csv", 'artist,item\n"x, y",a\nz,b\n,c\n,d\n', "item"),
        ("ids.tsv", "item\tartist\na\tx\nb\ty\nc\t\nd\t\n", "item"),
        ("ids.csv", "\ufeffitem\na\nb\nc\nd\n", "item"),
    ],
)
def test_ids_may_come_from_a_text(folder, name, text, column):
    (folder / name).write_text(text, encoding="utf-8")
    assert read(folder, path="v.npy", ids_file=name, ids_column=column).ids == ["a", "b", "c", "d"]


@pytest.mark.parametrize("ids", [np.array(["a", "b", "c", "d"]), np.array([[1], [2], [3], [4]])])
def test_ids_may_come_from_an_array(folder, ids):
    np.save(folder / "ids.npy", ids)
    assert read(folder, path="v.npy", ids_file="ids.npy").ids == [str(one) for one in ids.ravel()]


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.large_list(pa.float64()), pa.list_(pa.float32(), 3)])
def test_parquet_holds_ids_and_lists(folder, kind):
    table = pa.table({"id": pa.array([5, 6, 7, 8]), "emb": pa.array(VECTORS.tolist(), kind)})
    pq.write_table(table, folder / "v.parquet")
    found = read(folder, path="v.parquet", item_id="id", vector="emb")
    assert found.ids == ["5", "6", "7", "8"]
    np.testing.assert_allclose(found.vectors, scaled(VECTORS), atol=1e-6)


def test_paths_may_be_absolute(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("source")
    assert read(elsewhere, path=str(folder / "v.npy"), row_is_id=True).ids == ["0", "1", "2", "3"]
    assert read(elsewhere, path=f"file://{folder}/v.npy", row_is_id=True).ids == ["0", "1", "2", "3"]


def test_rows_without_finite_numbers_are_named_and_change_no_other(folder):
    broken = np.vstack([VECTORS, [[np.nan, 1, 1], [1, np.inf, 1]]])
    np.save(folder / "w.npy", broken)
    found = read(folder, path="w.npy", row_is_id=True)
    assert found.of(["0", "4", "5"]).present.tolist() == [True, False, False]
    reason = "row {} of the vectors holds NaN or infinity"
    assert found.useless() == {"4": reason.format(4), "5": reason.format(5)}
    np.testing.assert_allclose(found.vectors[:4], scaled(VECTORS), atol=1e-6)


def test_a_null_list_is_such_a_row(folder):
    pq.write_table(
        pa.table({"item_id": ["a", "b", "c"], "vector": [[1.0, 2.0], None, [2.0, 1.0]]}), folder / "n.parquet"
    )
    found = read(folder, path="n.parquet")
    assert list(found.useless()) == ["b"] and found.of(["a", "b", "c"]).present.tolist() == [True, False, True]


def test_files_that_do_not_fit_are_clear_errors(folder):
    def parquet(**columns: list) -> str:
        pq.write_table(pa.table(columns), folder / "x.parquet")
        return refusal(folder, path="x.parquet")

    assert "encode.precomputed.sound.path: there is no file 'no.npy'" in refusal(folder, path="no.npy", row_is_id=True)
    assert "row 1 has 1 numbers, the rows before it 2" in parquet(item_id=["a", "b"], vector=[[1.0, 2.0], [1.0]])
    assert "has no column 'vector'; it has item_id, v" in parquet(item_id=["a"], v=[[1.0]])
    assert "column 'vector' holds double; it must hold lists of numbers" in parquet(item_id=["a"], vector=[1.0])
    assert "the vectors are not numbers" in parquet(item_id=["a"], vector=[["x"]])
    assert "rows 0 and 1 both have the id 'a'" in parquet(item_id=["a", "a"], vector=[[1.0], [2.0]])
    assert "every row holds NaN or infinity" in parquet(item_id=["a"], vector=[[float("nan")]])
    (folder / "x.parquet").write_bytes(b"no parquet")
    assert "x.parquet is no Parquet file" in refusal(folder, path="x.parquet")
    (folder / "ids.txt").write_text("a\nb\n")
    assert "4 vectors but 2 ids" in refusal(folder, path="v.npy", ids_file="ids.txt")
    (folder / "ids.csv").write_text("item\na\n")
    assert "has no column 'id'; it has item" in refusal(folder, path="v.npy", ids_file="ids.csv", ids_column="id")
    (folder / "ids.txt").write_bytes(b"\xff\xfe")
    assert "is not UTF-8" in refusal(folder, path="v.npy", ids_file="ids.txt")


@pytest.mark.parametrize(
    "array", [np.zeros(3), np.zeros((0, 4)), np.zeros((2, 2, 2)), np.array([["a"]]), np.zeros((2, 0))]
)
def test_arrays_must_be_matrices_of_numbers(folder, array):
    np.save(folder / "x.npy", array)
    assert "it must be numbers, (rows, D)" in refusal(folder, path="x.npy", row_is_id=True)


def test_nothing_is_unpickled(folder):
    np.save(folder / "x.npy", np.array([{"a": 1}], object), allow_pickle=True)
    assert "x.npy is no .npy of plain values" in refusal(folder, path="x.npy", row_is_id=True)


def test_the_fingerprint_follows_the_contents(folder):
    config = PrecomputedConfig(path="v.npy", ids_file="ids.txt")
    (folder / "ids.txt").write_text("a\nb\nc\nd\n")
    first = fingerprint(config, str(folder))
    assert fingerprint(config, str(folder)) == first
    (folder / "ids.txt").write_text("a\nb\nc\ne\n")
    assert fingerprint(config, str(folder)) != first


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"path": "v.csv"}, "must end in .npy or .parquet"),
        ({"path": "v.npy"}, "give either row_is_id: true or ids_file"),
        ({"path": "v.npy", "row_is_id": True, "ids_file": "i.txt"}, "give either row_is_id: true or ids_file"),
        ({"path": "v.parquet", "row_is_id": True}, "leave out row_is_id and ids_"),
        ({"path": "v.npy", "ids_file": "i.doc"}, "must end in .npy, .txt, .csv or .tsv"),
        ({"path": "v.npy", "ids_file": "i.csv"}, "ids_column names the column"),
        ({"path": "v.npy", "ids_file": "i.txt", "ids_column": "a"}, "ids_column names the column"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        validate(EncodeConfig, {"precomputed": {"sound": settings}}, "test")


@pytest.mark.parametrize("name", ["text", "quarantine", "a b", "../x", ""])
def test_names_of_other_features_are_taken(name):
    settings = {"path": "v.parquet"}
    with pytest.raises(ConfigError, match="cannot name a modality"):
        validate(EncodeConfig, {"precomputed": {name: settings}}, "test")

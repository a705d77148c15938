import numpy as np
import pyarrow as pa

from llm4rec.artifacts import RunStore
from llm4rec.encode.categories import encode_categories
from llm4rec.encode.numbers import encode_numbers
from llm4rec.schema import read_features, write_modality


def categories(*rows):
    return pa.table({"categories": pa.array(rows, pa.list_(pa.string()))})


def numbers(rows, names=("price",)):
    kind = pa.struct([(name, pa.float64()) for name in names])
    return pa.table({"numbers": pa.array(rows, kind)})


def test_categories_are_unit_multi_hot_in_alphabetical_order():
    modality = encode_categories(categories(["b", "a"], [], ["c"], None, ["a", "a"]))
    half = np.sqrt(0.5)
    expected = [[half, half, 0], [0, 0, 0], [0, 0, 1], [0, 0, 0], [1, 0, 0]]
    np.testing.assert_allclose(modality.vectors, expected, atol=1e-6)
    assert modality.vectors.dtype == np.float32
    assert modality.present.tolist() == [True, False, True, False, True]


def test_no_categories_at_all_is_none():
    assert encode_categories(categories([], None)) is None


def test_numbers_are_centred_on_the_median_and_scaled_by_the_iqr():
    # Known prices 0, 1, 2, 3, 4: median 2, IQR 3 - 1 = 2. 1000 comes after and is tested for the cut below.
    modality = encode_numbers(numbers([{"price": float(n)} for n in (4, 0, 2, 1, 3)]))
    np.testing.assert_allclose(modality.vectors[:, 0], [1, -1, 0, -0.5, 0.5])
    assert not modality.vectors[:, 1].any()


def test_missing_numbers_are_zero_with_a_flag():
    rows = [{"price": 1.0, "year": 5.0}, {"price": None, "year": 6.0}, {"price": None, "year": None}, None]
    modality = encode_numbers(numbers(rows, ("price", "year")))
    assert modality.vectors.shape == (4, 4)
    assert modality.vectors[:2, 2:].tolist() == [[0, 0], [1, 0]]
    assert modality.vectors[1, 0] == 0
    assert modality.present.tolist() == [True, True, False, False]
    assert not modality.vectors[2:].any()


def test_outliers_are_cut_and_constants_only_centred():
    rows = [{"price": price, "same": 7.0} for price in (0.0, 1.0, 2.0, 3.0, 4.0, 1e9)]
    modality = encode_numbers(numbers(rows, ("price", "same")))
    assert modality.vectors[-1, 0] == 5
    assert not modality.vectors[:, 1].any()


def test_no_numbers_at_all_is_none():
    assert encode_numbers(numbers([{"price": None}, None])) is None
    assert encode_numbers(pa.table({"numbers": pa.nulls(2)})) is None


def test_modalities_survive_the_artifact(tmp_path):
    found = {
        "categories": encode_categories(categories(["a"], [])),
        "numbers": encode_numbers(numbers([None, {"price": 1.0}])),
    }
    store = RunStore(str(tmp_path))
    with store.write("features", {}) as writer:
        for name, modality in found.items():
            write_modality(writer, name, ["x", "y"], modality)
        writer.write_json("features.json", {"modalities": list(found)})
    for name, modality in read_features(store.open("features"), ["x", "y"]).items():
        np.testing.assert_array_equal(modality.vectors, found[name].vectors)
        np.testing.assert_array_equal(modality.present, found[name].present)

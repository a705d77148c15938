import numpy as np
import pyarrow as pa

from llm4rec.artifacts import RunStore
from llm4rec.encode.categories import CategoryColumns, encode_categories
from llm4rec.encode.numbers import NumberScales, encode_numbers
from llm4rec.schema import modality_table, read_features


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
            writer.write_table(name, modality_table(["x", "y"], modality))
        writer.write_json("features.json", {"modalities": list(found)})
    for name, modality in read_features(store.open("features"), ["x", "y"]).items():
        np.testing.assert_array_equal(modality.vectors, found[name].vectors)
        np.testing.assert_array_equal(modality.present, found[name].present)


def test_of_too_many_categories_the_most_frequent_have_columns():
    rows = [["a", "z"], ["z", "b"], ["b", "c"], ["d"], ["c"], ["z"], []]  # z 3, b 2, c 2, a 1, d 1
    columns = CategoryColumns.fit([categories(*rows[:3]), categories(*rows[3:])], limit=4)
    assert columns.names == ["a", "b", "c", "z"] and columns.num_found == 5
    modality = columns.encode(categories(*rows))
    assert modality.present.tolist() == [True, True, True, False, True, True, False]
    half = np.sqrt(0.5)
    np.testing.assert_allclose(modality.vectors[2:5], [[0, half, half, 0], [0, 0, 0, 0], [0, 0, 1, 0]], atol=1e-6)


def test_parts_of_a_catalogue_are_encoded_as_the_whole():
    rows = [{"price": float(n), "year": None if n % 2 else 1990.0 + n} for n in range(9)] + [None]
    whole = encode_numbers(numbers(rows, ("price", "year")))
    parts = [numbers(rows[:4], ("price", "year")), numbers(rows[4:], ("price", "year"))]
    scales = NumberScales.fit(parts)
    found = [scales.encode(part) for part in parts]
    np.testing.assert_array_equal(np.concatenate([part.vectors for part in found]), whole.vectors)
    np.testing.assert_array_equal(np.concatenate([part.present for part in found]), whole.present)


def test_a_part_without_numbers_is_absent():
    scales = NumberScales.fit([numbers([{"price": 1.0}]), pa.table({"numbers": pa.nulls(2)})])
    modality = scales.encode(pa.table({"numbers": pa.nulls(2)}))
    assert modality.vectors.shape == (2, 2) and not modality.present.any() and not modality.vectors.any()

"""The whole stage without Ray: a corpus with every kind of content, good and bad."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from llm4rec.artifacts import Artifact, RunStore
from llm4rec.encode import stage
from llm4rec.encode.config import EncodeConfig
from llm4rec.encode.image import ImageEncoder
from llm4rec.encode.stage import FeatureEncoder
from llm4rec.errors import DataError
from llm4rec.schema import Modality, read_features
from tests.encode.media_files import HTML, image_file, picture, sound_file, tone

COUNT = 11
IDS = [f"item {n}" for n in range(COUNT)]


def here(step: str, factory: Callable[[], Callable[[Any], Any]], tasks: Sequence[Any]) -> list[Any]:
    """Runs tasks in this process, in an order that shows whether anything depends on it."""
    function = factory()
    answers = {number: function(tasks[number]) for number in reversed(range(len(tasks)))}
    return [answers[number] for number in range(len(tasks))]


def encode(folder: Path, items: dict[str, list], cuts: Sequence[int] = (), **settings: Any) -> Artifact:
    """Features of items, whose table is cut into parts."""
    table = pa.table({"item_id": pa.array(IDS[: len(next(iter(items.values())))]), **items})
    for name, kind in (("text", pa.string()), ("categories", pa.list_(pa.string())), ("numbers", pa.null())):
        if name not in table.column_names:
            table = table.append_column(name, pa.nulls(table.num_rows, kind))
    if "title" not in table.column_names:
        table = table.append_column("title", table["item_id"])
    store = RunStore(str(folder / "run"))
    bounds = [0, *cuts, table.num_rows]
    with store.write("corpus", {}) as writer:
        for number, (start, stop) in enumerate(zip(bounds[:-1], bounds[1:], strict=True)):
            writer.write_table(f"items/part-{number:05d}", table.slice(start, stop - start))
    corpus, config = store.open("corpus"), EncodeConfig.model_validate(settings)
    with store.write("features", {}) as writer:
        features = FeatureEncoder(
            corpus, config, run=store.location, source=str(folder / "data"), work=writer.work
        ).encode(here)
        features.write(writer)
    return store.open("features")


def features_of(artifact: Artifact, count: int = COUNT) -> dict[str, Modality]:
    return read_features(artifact, IDS[:count])


def quarantine(artifact: Artifact) -> list[tuple[int, str, str]]:
    return [(row["row"], row["source"], row["reason"]) for row in artifact.read_table("quarantine").to_pylist()]


@pytest.fixture
def small_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "ROWS_PER_TASK", dict.fromkeys(stage.ROWS_PER_TASK, 3))


@pytest.fixture
def media(tmp_path: Path) -> dict[str, list]:
    """Items of which some have good pictures, some bad ones, and some none."""
    folder = tmp_path / "data"
    folder.mkdir()
    for n in range(COUNT):
        (folder / f"{n}.jpg").write_bytes(image_file(picture(n)))
        (folder / f"{n}.wav").write_bytes(sound_file(tone(100 * (n + 1), 0.3)))
    (folder / "1.jpg").write_bytes(HTML)
    (folder / "4.jpg").write_bytes(image_file(picture(4))[:200])
    (folder / "7.jpg").unlink()
    (folder / "2.wav").write_bytes(b"")
    images = [None if n in {0, 9} else f"{n}.jpg" for n in range(COUNT)]
    images[10] = "../../../etc/hostname"
    return {"image": images, "audio": [None if n == 5 else f"{n}.wav" for n in range(COUNT)]}


def test_every_item_ends_as_present_quarantined_or_absent(tmp_path, media, small_runs):
    artifact = encode(tmp_path, media, cuts=(2, 2, 7), text_model=None)
    info, found = artifact.read_json("features.json"), features_of(artifact)
    assert info["modalities"] == ["image", "audio", "mel"] and info["shapes"] == {"mel": [64, 64]}
    assert info["counts"] == {
        "image": {"items": 11, "present": 5, "quarantined": 4, "absent": 2},
        "audio": {"items": 11, "present": 9, "quarantined": 1, "absent": 1},
        "mel": {"items": 11, "present": 9, "quarantined": 1, "absent": 1},
    }
    for name, modality in found.items():
        assert modality.present.sum() == info["counts"][name]["present"]
        assert not modality.vectors[~modality.present].any() and modality.vectors[modality.present].any(axis=1).all()
    assert found["mel"].shape == (64, 64)
    assert found["image"].present.tolist() == [n in {2, 3, 5, 6, 8} for n in range(COUNT)]


def test_whatever_is_refused_has_its_row_and_reason(tmp_path, media, small_runs):
    rows = quarantine(encode(tmp_path, media, cuts=(4,), text_model=None, audio="speech"))
    assert [(row, source) for row, source, _ in rows] == [
        (2, "image"),
        (5, "image"),
        (8, "image"),
        (11, "image"),
        (3, "audio"),
    ]
    reasons = [reason for _, _, reason in rows]
    assert reasons[0].startswith("1.jpg: not an image") and "<!DOCTYPE html>" in reasons[0]
    assert reasons[1].startswith("4.jpg: truncated image: ")
    assert reasons[2] == "7.jpg: there is no such file"
    assert "lies outside" in reasons[3]
    assert reasons[4] == "2.wav: empty"


def test_vectors_stand_in_the_rows_of_their_items(tmp_path, media, small_runs):
    found = features_of(encode(tmp_path, media, cuts=(1, 6), text_model=None, audio=None))["image"]
    expected = ImageEncoder(EncodeConfig()).encode([image_file(picture(n)) for n in (2, 3, 5, 6, 8)])
    np.testing.assert_allclose(found.vectors[found.present], expected, atol=1e-5)


def test_cuts_and_runs_change_nothing(tmp_path, media, monkeypatch):
    whole = encode(tmp_path, media, text_model=None)
    monkeypatch.setattr(stage, "ROWS_PER_TASK", dict.fromkeys(stage.ROWS_PER_TASK, 2))
    (tmp_path / "b").mkdir()
    (tmp_path / "b/data").symlink_to(tmp_path / "data")
    pieces = encode(tmp_path / "b", media, cuts=(3, 5), text_model=None)
    assert [row[:2] for row in quarantine(pieces)] == [row[:2] for row in quarantine(whole)]
    for name, modality in features_of(whole).items():
        np.testing.assert_allclose(features_of(pieces)[name].vectors, modality.vectors, atol=1e-5)


def test_media_may_be_bytes(tmp_path):
    items = {"image": pa.array([image_file(picture(1)), HTML, None, b""], pa.binary())}
    artifact = encode(tmp_path, items, text_model=None)
    assert features_of(artifact, 4)["image"].present.tolist() == [True, False, False, False]
    (first, second) = quarantine(artifact)
    assert first[0] == 2 and first[2].startswith(f"{len(HTML)} bytes: not an image")
    assert second == (4, "image", "0 bytes: empty")


def test_text_categories_and_numbers_need_no_media(tmp_path, small_runs):
    items = {
        "title": ["Alien", IDS[1], "Babe", "Casablanca"],
        "categories": pa.array([["Horror"], [], None, ["Drama", "War"]], pa.list_(pa.string())),
        "numbers": [{"year": 1979.0}, None, {"year": None}, {"year": 1942.0}],
        "image": pa.nulls(4, pa.string()),
    }
    artifact = encode(tmp_path, items, cuts=(2,))
    assert artifact.read_json("features.json")["modalities"] == ["text", "categories", "numbers"]
    found = features_of(artifact, 4)
    assert found["text"].present.tolist() == [True, False, True, True]
    assert found["categories"].present.tolist() == [True, False, False, True]
    assert found["numbers"].present.tolist() == [True, False, False, True]
    assert quarantine(artifact) == []


def test_items_need_no_text(tmp_path):
    artifact = encode(tmp_path, {"categories": pa.array([["a"], ["b"]], pa.list_(pa.string()))}, text_model=None)
    assert list(features_of(artifact, 2)) == ["categories"]
    artifact = encode(tmp_path, {"numbers": [{"price": 1.0}, {"price": 2.0}]})
    assert list(features_of(artifact, 2)) == ["numbers"]


def test_items_with_nothing_at_all_are_an_error(tmp_path):
    with pytest.raises(DataError, match="nothing to encode: no item has text, categories, numbers, image, audio, mel"):
        encode(tmp_path, {"image": [None, ""]})


def test_a_modality_of_which_nothing_is_good_is_left_out_aloud(tmp_path, caplog):
    artifact = encode(tmp_path, {"title": ["Alien", "Babe"], "image": ["no.jpg", None]})
    warning = "encode: image is left out: nothing could be used, such as no.jpg: there is no such file"
    assert warning in [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    info = artifact.read_json("features.json")
    assert info["modalities"] == ["text"]
    assert info["counts"]["image"] == {"items": 2, "present": 0, "quarantined": 1, "absent": 1}
    assert quarantine(artifact) == [(1, "image", "no.jpg: there is no such file")]


def test_precomputed_vectors_are_one_more_modality(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/ids.txt").write_text("item 2\nunknown\nitem 0\nitem 1\n")
    vectors = np.array([[1, 2], [5, 5], [3, 1], [np.nan, 0]], np.float32)
    np.save(tmp_path / "data/v.npy", vectors)
    settings = {"vggish": {"path": "v.npy", "ids_file": "ids.txt"}}
    artifact = encode(tmp_path, {"title": ["A", "B", "C", "D"]}, cuts=(2,), precomputed=settings)
    info = artifact.read_json("features.json")
    assert info["modalities"] == ["text", "vggish"]
    expected = {"items": 4, "present": 2, "quarantined": 1, "absent": 1, "unknown_ids": 1}
    assert info["counts"]["vggish"] == expected
    assert features_of(artifact, 4)["vggish"].present.tolist() == [True, False, True, False]
    assert quarantine(artifact) == [(2, "vggish", "row 3 of the vectors holds NaN or infinity")]


def test_precomputed_vectors_of_other_items_are_an_error(tmp_path):
    (tmp_path / "data").mkdir()
    np.save(tmp_path / "data/v.npy", np.eye(3))
    with pytest.raises(
        DataError, match="none of 3 ids of v.npy, such as '0', is an item of the corpus, such as 'item "
    ):
        encode(tmp_path, {"title": ["A"]}, precomputed={"sound": {"path": "v.npy", "row_is_id": True}})

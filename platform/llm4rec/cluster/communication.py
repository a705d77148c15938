"""DeepSpeed's communication operator, compiled on first use."""

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from llm4rec.errors import Llm4RecError

PLACE = "TORCH_EXTENSIONS_DIR"
"""The variable by which PyTorch is told where to compile."""


def load_operator() -> None:
    """Load the operator that CPU workers of one node talk through, and compile it where that was not yet done.

    PyTorch marks a folder that it compiles in with a file, which a process that is killed leaves behind: all others
    would wait for ever. Here processes take turns by a lock that ends with its holder, so a mark that is found is an
    old one. The ninja beside the interpreter is used: another version than the last would compile everything anew.

    Raises:
        Llm4RecError: nothing can be written where it is to be compiled.
    """
    from deepspeed.ops.op_builder.cpu import ShareMemCommBuilder

    folder = operator_folder()
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    turns = Path(f"{folder}.turn")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        turns.touch()
    except OSError as error:
        raise Llm4RecError(
            f"DeepSpeed's operator cannot be compiled in {folder} ({error.strerror}); set {PLACE} to a folder that may "
            "be written"
        ) from error
    with turns.open("w") as turn, _environment({"PATH": path, PLACE: str(folder.parent)}):
        fcntl.flock(turn, fcntl.LOCK_EX)
        Path(folder, "lock").unlink(missing_ok=True)
        ShareMemCommBuilder().load(verbose=False)  # DeepSpeed loads it again, and gets this one


def operator_folder() -> Path:
    """Where it is compiled: what TORCH_EXTENSIONS_DIR names, else the Python environment, else the user's cache.

    PyTorch would have one folder for all environments of a user, in which each compiles anew, for about a minute, what
    the other has left. Other versions have other folders, since nothing else tells that their headers have changed.
    """
    from deepspeed.ops.op_builder.cpu import ShareMemCommBuilder
    from torch.utils.cpp_extension import get_default_build_root

    if not (root := os.environ.get(PLACE)):
        above = sys.prefix if os.access(sys.prefix, os.W_OK) else get_default_build_root()
        versions = [f"{name}-{version(name)}" for name in ("torch", "deepspeed")]
        root = str(Path(above, "llm4rec-operators", "-".join([*versions, sys.implementation.cache_tag])))
    return Path(root, ShareMemCommBuilder().name)


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value

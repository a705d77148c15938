"""DeepSpeed's communication operator, compiled on first use."""

import fcntl
import os
import sys
from pathlib import Path


def load_operator() -> None:
    """Load the operator that CPU workers of one node talk through, and compile it where that was not yet done.

    PyTorch marks a folder that it compiles in with a file, which a process that is killed leaves behind: all others
    would wait for ever. Here processes take turns by a lock that ends with its holder, so a mark that is found is an
    old one. The ninja beside the interpreter is used: another version than the last would compile everything anew.
    """
    from deepspeed.ops.op_builder.cpu import ShareMemCommBuilder

    beside = str(Path(sys.executable).parent)
    os.environ["PATH"] = os.pathsep.join([beside, os.environ.get("PATH", "")])
    folder = operator_folder()
    with open(folder.with_name(f"{folder.name}.turn"), "w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        Path(folder, "lock").unlink(missing_ok=True)
        ShareMemCommBuilder().load(verbose=False)


def operator_folder() -> Path:
    """Where it is compiled; TORCH_EXTENSIONS_DIR in the environment chooses another place."""
    from deepspeed.ops.op_builder.cpu import ShareMemCommBuilder
    from torch.utils.cpp_extension import _get_build_directory  # noqa: PLC2701

    return Path(_get_build_directory(ShareMemCommBuilder().name, False))

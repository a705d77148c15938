"""DeepSpeed's communication operator, compiled on first use."""

import fcntl
import hashlib
import os
import sys
from pathlib import Path

PLACE = "TORCH_EXTENSIONS_DIR"
"""The variable that says where PyTorch compiles; read by DeepSpeed, too."""


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
    os.environ[PLACE] = str(folder.parent)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_name(f"{folder.name}.turn"), "w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        Path(folder, "lock").unlink(missing_ok=True)
        ShareMemCommBuilder().load(verbose=False)


def operator_folder() -> Path:
    """Where it is compiled; TORCH_EXTENSIONS_DIR in the environment chooses another place.

    Each Python environment has a folder of its own: in one that two share, each would compile anew (about a minute)
    what the other has left.
    """
    from deepspeed.ops.op_builder.cpu import ShareMemCommBuilder
    from torch.utils.cpp_extension import get_default_build_root

    own = hashlib.sha256(sys.prefix.encode()).hexdigest()[:12]
    return Path(os.environ.get(PLACE) or Path(get_default_build_root(), own), ShareMemCommBuilder().name)

"""A port that processes of one service share, and no other service may join."""

import fcntl
import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from llm4rec.errors import ConfigError


def claim(host: str, port: int, owner: str) -> BinaryIO:
    """Claim a port for a service, for as long as the file that is returned is open.

    The kernel lets every process of the same user listen on a port that is shared (SO_REUSEPORT) and deals connections
    out among them, whatever they serve. So processes that share one hold a lock on a file that says whose it is.

    Args:
        host: address.
        port: TCP port.
        owner: the service; its processes may share the port.

    Raises:
        ConfigError: another service has it, or the file cannot be opened.
    """
    mark = hashlib.sha256(owner.encode()).hexdigest().encode()
    # By the port alone: names and addresses of one machine overlap.
    path = Path(tempfile.gettempdir(), f"llm4rec-{os.getuid()}-{port}.lock")
    try:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "r+b", buffering=0)
    except OSError as error:
        raise ConfigError(f"{path}, which says whose the port is, cannot be opened ({error.strerror})") from None
    for _ in range(2):  # whose mark was read may have ended since
        if _shares(file, mark):
            return file
    file.close()
    raise ConfigError(
        f"serve.host:serve.port is {host}:{port}, where another service of LLM4Rec answers; end it, or choose "
        "another port"
    )


def _shares(file: BinaryIO, mark: bytes) -> bool:
    """Hold a file, that of nobody marked as ours, and tell whether it is."""
    with suppress(BlockingIOError):  # somebody holds it
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.seek(0)
        file.truncate()
        file.write(mark)
    fcntl.flock(file, fcntl.LOCK_SH)
    file.seek(0)
    if file.read() == mark:
        return True
    fcntl.flock(file, fcntl.LOCK_UN)
    return False

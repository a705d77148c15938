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
    name = f"llm4rec-{os.getuid()}-{host.replace(':', '_')}-{port}.lock"
    path = Path(tempfile.gettempdir(), name)
    try:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "r+b", buffering=0)
    except OSError as error:
        raise ConfigError(f"{path}, which says whose the port is, cannot be opened ({error.strerror})") from None
    with suppress(BlockingIOError):  # somebody shares it already
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.truncate()
        file.write(mark)
    fcntl.flock(file, fcntl.LOCK_SH)
    file.seek(0)
    if file.read() != mark:
        file.close()
        raise ConfigError(
            f"serve.host:serve.port is {host}:{port}, where another service of LLM4Rec answers; end it, or choose "
            "another port"
        )
    return file

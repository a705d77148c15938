"""API keys: only their hashes are kept, each with what it may do; the file may change while the service runs."""

import fcntl
import hashlib
import hmac
import json
import logging
import os
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from llm4rec.errors import ConfigError

logger = logging.getLogger(__name__)

Scope = Literal["read", "write", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
PREFIX = "l4r_"
LOOK_AGAIN_S = 1.0
"""Seconds after which a changed file is taken notice of."""


class Key(BaseModel):
    """One key as the file holds it.

    Attributes:
        name: for people and logs; says nothing of the key.
        sha256: of the key.
        scopes: what it may do: read slates, items and users with their histories; write feedback, items and users; see
            models (admin).
        expires: seconds since 1970 after which it counts no more, None for never.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=100)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    scopes: tuple[Scope, ...]
    expires: int | None = None


_FILE = TypeAdapter(list[Key])


def read_keys(path: Path) -> list[Key]:
    """The keys of a file.

    Raises:
        ConfigError: it cannot be read, or is no list of keys.
    """
    try:
        return _FILE.validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigError(
            f"serve.keys: {path} cannot be read ({error.strerror}); jobs/keys.py --file {path} --create NAME makes one"
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"serve.keys: {path} is no list of keys: {where} {first['msg']}") from None


def create_key(path: Path, name: str, scopes: Sequence[Scope], days: int | None = None) -> str:
    """Add a key to a file, which is made if there is none, readable by its owner only. Others who change it wait.

    Returns:
        the key; it is kept nowhere.

    Raises:
        ConfigError: the name is taken, or the file cannot be read.
    """
    key = PREFIX + secrets.token_urlsafe(32)
    expires = None if days is None else int(time.time()) + days * 86_400
    with _changing(path):
        keys = read_keys(path) if path.exists() else []
        if name in {key.name for key in keys}:
            raise ConfigError(f"a key named {name!r} is in {path} already; revoke it first, or choose another name")
        _write(path, [*keys, Key(name=name, sha256=_digest(key), scopes=tuple(scopes), expires=expires)])
    return key


def revoke_key(path: Path, name: str) -> None:
    """Take a key out of a file.

    Raises:
        ConfigError: there is none of this name.
    """
    with _changing(path):
        keys = read_keys(path)
        left = [key for key in keys if key.name != name]
        if len(left) == len(keys):
            names = ", ".join(key.name for key in keys) or "-"
            raise ConfigError(f"no key named {name!r} is in {path}; there are: {names}")
        _write(path, left)


class Keys:
    """The keys of a file as they are now, none once the file is gone; safe for several threads."""

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            ConfigError: see `read_keys`.
        """
        self._path = path
        self._lock = threading.Lock()
        self._changed = _changed(path)
        self._keys = read_keys(path)
        self._looked = time.monotonic()

    def find(self, key: str) -> Key | None:
        """The key of this text, if it is one that counts. Takes as long whichever it is, and if it is none."""
        self._look()
        digest, found = _digest(key), None
        for known in self._keys:
            if hmac.compare_digest(known.sha256, digest):
                found = known
        return None if found is None or (found.expires is not None and found.expires < time.time()) else found

    def _look(self) -> None:
        """Read the file again if it was changed; one that is broken changes nothing."""
        with self._lock:
            if time.monotonic() - self._looked < LOOK_AGAIN_S:
                return
            self._looked = time.monotonic()
            try:
                changed = _changed(self._path)
                if changed != self._changed:
                    self._keys, self._changed = read_keys(self._path) if changed else [], changed
            except (ConfigError, OSError) as error:
                logger.error("the keys before go on counting: %s", error)


def _changed(path: Path) -> tuple[int, int] | None:
    """What is another after every change; None where there is no file."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return (found.st_ctime_ns, found.st_ino)


@contextmanager
def _changing(path: Path) -> Iterator[None]:
    try:
        with open(path.with_name(f".{path.name}.lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise ConfigError(f"{path} cannot be changed ({error.strerror})") from None


def _write(path: Path, keys: Sequence[Key]) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(part, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as stream:
        json.dump([key.model_dump() for key in keys], stream, indent=1)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(path)


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()

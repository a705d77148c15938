"""Requests and run folders that nobody who means well would make."""

import gzip
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from llm4rec.artifacts import MANIFEST, RunStore
from llm4rec.train.state import WEIGHTS

SECRET_USER = "ann.example+secret@example.org"


def hostile_requests() -> dict[str, bytes]:
    """Requests as they go over the wire, by name; the key is put in later."""
    slates, feedback = "POST /v1/recommendations", "POST /v1/feedback"
    event = {"event_id": "e", "user_id": SECRET_USER, "item_id": "1", "event": "like"}
    body = json.dumps({"user_id": SECRET_USER, "k": 5}).encode()
    return {
        "unknown user": _request(slates, body),
        "NaN": _request(slates, b'{"user_id": "1", "k": NaN}'),
        "k of 1e9": _request(slates, b'{"user_id": "1", "k": 1e9}'),
        "k of 5,000 digits": _request("GET /v1/recommendations/1?k=" + "9" * 5000),
        "diversity of 1e999": _request(slates, b'{"user_id": "1", "diversity": 1e999}'),
        "nested 400,000 deep": _request(slates, b"[" * 400_000),
        "objects nested 100,000 deep": _request(slates, b'{"a":' * 100_000),
        "a key twice": _request(slates, b'{"user_id": "1", "user_id": "2"}'),
        "no UTF-8": _request(slates, b'{"user_id": "\xff\xfe"}'),
        "lone surrogate": _request(slates, rb'{"user_id": "\ud800"}'),
        "NUL in a body": _request(slates, rb'{"user_id": "a\u0000b"}'),
        "NUL in a path": _request("GET /v1/recommendations/a%00b"),
        "NUL in a header": b"GET / HTTP/1.1\r\nhost: x\r\nx: a\x00b\r\n\r\n",
        "path traversal": _request("GET /static/../../../../../../etc/passwd"),
        "encoded path traversal": _request("GET /static/%2e%2e%2f%2e%2e%2f%2e%2e%2f%2e%2e%2fetc%2fpasswd"),
        "double slash": _request("GET //etc/passwd"),
        "absolute address": _request("GET http://169.254.169.254/latest/meta-data"),
        "50 MB, announced": _request(feedback, b" " * 50_000_000),
        "50 MB, in chunks": _chunked(feedback, b" " * 50_000_000),
        "bad gzip": _request(slates, b"\x1f\x8b no gzip", "content-encoding: gzip"),
        "gzip bomb": _request(slates, gzip.compress(b" " * 50_000_000), "content-encoding: gzip"),
        "length that is no number": b"POST /v1/feedback HTTP/1.1\r\nhost: x\r\ncontent-length: many\r\n\r\n",
        "negative length": b"POST /v1/feedback HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        "length and chunks": _request(feedback, b"0\r\n\r\n", "transfer-encoding: chunked"),
        "two lengths": _request(feedback, b"[]", "content-length: 0"),
        "header of a megabyte": _request("GET /v1/status", extra="x: " + "a" * 1_000_000),
        "20,000 headers": _request("GET /v1/status", extra="\r\n".join(f"x-{n}: 1" for n in range(20_000))),
        "50,000 parameters": _request("GET /v1/recommendations/1?" + "&".join(f"a{n}=1" for n in range(50_000))),
        "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
        "no method": _request("BREW /v1/recommendations/1"),
        "SQL": _request("GET /v1/recommendations/1'%3B%20DROP%20TABLE%20feedback%3B--"),
        "script as an item": _request(
            "PUT /v1/items/%3Cscript%3Ealert(1)%3C%2Fscript%3E", b'{"title": "<script>alert(1)</script>"}'
        ),
        "1,001 events": _request(feedback, json.dumps([event] * 1001).encode()),
        "words of 900 kB": _request(slates, json.dumps({"query": "a" * 900_000}).encode()),
        "a history of 50,000": _request(slates, json.dumps({"history": ["1"] * 50_000}).encode()),
        "another key": b"GET /v1/status HTTP/1.1\r\nhost: x\r\nauthorization: Bearer l4r_wrong\r\n\r\n",
        "half a request": b"POST /v1/feedback HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n[",
    }


def _request(line: str, body: bytes | None = None, extra: str = "") -> bytes:
    headers = ["host: x", "authorization: Bearer KEY", *([extra] if extra else [])]
    if body is not None:
        headers += ["content-type: application/json", f"content-length: {len(body)}"]
    return "\r\n".join([f"{line} HTTP/1.1", *headers, "", ""]).encode("latin-1") + (body or b"")


def _chunked(line: str, body: bytes) -> bytes:
    head = _request(line, extra="content-type: application/json\r\ntransfer-encoding: chunked")
    size = 1 << 16
    chunks = [body[start : start + size] for start in range(0, len(body), size)]
    return head + b"".join(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n" for chunk in chunks) + b"0\r\n\r\n"


class Touch:
    """An object that makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


def bundles(source: Path, folder: Path, marker: Path) -> dict[str, Path]:
    """Run folders that would do harm to who trusts them, by name; their manifests are as they should be."""
    touch = pickle.dumps(Touch(marker))
    folder.mkdir()
    objects = folder / "objects.npz"
    np.savez(objects, items=np.array([Touch(marker)], object))
    flat = (source / "index" / "items.faiss").read_bytes()
    changes = {
        "pickle as weights": ("model", {WEIGHTS: touch}),
        "pickle as states": ("index", {"user_states.safetensors": touch}),
        "pickle as a table": ("index", {"prices.parquet": touch}),
        "npz of objects as an index": ("index", {"items.faiss": objects.read_bytes()}),
        "FAISS that promises 2^60 vectors": (
            "index",
            {"items.faiss": flat[:8] + (2**60).to_bytes(8, "little") + flat[16:]},
        ),
        "FAISS of another kind": ("index", {"items.faiss": b"IwFl" + flat[4:]}),
        "FAISS cut short": ("index", {"evidence.faiss": flat[: len(flat) // 2]}),
        "safetensors with a huge head": ("model", {WEIGHTS: (2**62).to_bytes(8, "little") + b"{}"}),
        "settings that are code": ("model", {"model.json": b"__import__('os').system('touch " + bytes(marker) + b"')"}),
    }
    found = {name: bundle(source, folder / name, stage, files) for name, (stage, files) in changes.items()}
    slipped = bundle(source, folder / "slip", "index", {})
    manifest = slipped / "index" / MANIFEST
    words = json.loads(manifest.read_text())
    words["files"]["../../../../../../etc/passwd"] = next(iter(words["files"].values()))
    manifest.write_text(json.dumps(words))
    return found | {"a name outside the folder": slipped}


def bundle(source: Path, folder: Path, changed: str, files: dict[str, bytes]) -> Path:
    """A run folder like another one, with other contents of some files and a manifest that says so."""
    folder.mkdir(parents=True)
    for name in ("corpus", "features", "effects", "model", "index"):
        if name != changed:
            (folder / name).symlink_to((source / name).resolve())
    old = RunStore(str(source)).open(changed)
    with RunStore(str(folder)).write(changed, {}) as writer:
        for name in old.manifest["files"]:
            writer.write_bytes(name, files.get(name, old.read_bytes(name)))
    return folder

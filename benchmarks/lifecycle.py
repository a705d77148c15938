"""Models published to a service under load: good ones are swapped in, bad ones refused by name, any rolled back.

    python benchmarks/lifecycle.py    # writes benchmarks/results/lifecycle.json, ten minutes

The model of quality.py for ML-1M, two replicas, 30 requests a second all the time. Twenty run folders are published in
turn with jobs/publish.py's own function: good ones (a space more in one file, so another version), ones with a flipped
byte, with item vectors of another width, with NaN among the weights, and with item vectors dealt out anew, which
foresee choices worse. `switch_s` is from the release to when both replicas answer with it, which GET /v1/status tells.
Then all good ones are rolled back, one right after the other; `serve.roll_backs_kept` is their number, more than by
default.
"""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
from load import CONFIG, asking, settings_of
from measure import store
from open_loop import Answer, open_loop, summary
from safetensors.numpy import load, save
from served import STAGES, Served, arguments, served

from llm4rec.artifacts import RunStore
from llm4rec.cluster.event_log import log_url
from llm4rec.cluster.publish import current, publish
from llm4rec.errors import Llm4RecError
from llm4rec.index.vectors import ItemIndex
from llm4rec.online.log import EventLog
from llm4rec.train.state import WEIGHTS

RATE, PUBLISHES, REPLICAS, CANARY = 30.0, 20, 2, 100
KINDS = ("good", "wrong sha", "wrong dimension", "NaN weights", "worse")
LONGEST_S = 60.0


def main() -> None:
    """Publish, look, roll back, and store what came out."""
    options = arguments(__doc__).parse_args()
    began = time.monotonic()
    settings = settings_of(options)
    source, folder = Path(settings[0].partition("=")[2]), options.work / "lifecycle"
    shutil.rmtree(folder, ignore_errors=True)
    runs = [(kind, made(kind, source, folder / str(n), n)) for n, kind in enumerate(KINDS * (PUBLISHES // len(KINDS)))]
    settings += [
        f"cluster.replicas=[{REPLICAS},{REPLICAS}]",
        f"serve.canary_users={CANARY}",
        f"serve.roll_backs_kept={PUBLISHES // len(KINDS)}",
    ]
    answers: list[Answer] = []
    with served(CONFIG, settings, {}, *STAGES) as app:
        over: list[bool] = []
        load = Thread(target=lambda: keep_asking(app, over, answers))
        load.start()
        events = EventLog(log_url(app.config))
        switches: list[float] = []
        refused: dict[str, list[str | None]] = {}
        for kind, run in runs:
            refusal = published(app, events, run)
            if refusal is None:
                switches.append(until_all(app, current(app.config, events)[1].main.version))
            refused.setdefault(kind, []).append(refusal)
            print(kind, refusal, switches[-1:], flush=True)
        backs = []
        for _ in switches:
            routing = events.roll_back(current(app.config, events)[0])
            backs.append(until_all(app, routing.main.version))
        over.append(True)
        load.join()
        events.close()
    good = refused.pop("good")
    figures: dict[str, Any] = {
        "publishes": len(runs),
        **summary(answers),
        "failed": sum(answer.status != 200 for answer in answers),
        "good_refused": sum(refusal is not None for refusal in good),
        "bad_taken": sum(refusal is None for refusals in refused.values() for refusal in refusals),
        "refusals": {kind: refusals[0] for kind, refusals in refused.items()},
        "switch_s": [round(seconds, 1) for seconds in switches],
        "roll_back_s": [round(seconds, 1) for seconds in backs],
    }
    print(figures, flush=True)
    store("lifecycle", figures, time.monotonic() - began)


def keep_asking(app: Served, over: list[bool], answers: list[Answer]) -> None:
    """Load until it is over."""
    while not over:
        answers += open_loop(app.client.url, RATE, 10, asking(app.client))


def published(app: Served, events: EventLog, run: Path) -> str | None:
    """Publish; the refusal if there was one."""
    try:
        publish(app.config, events, str(run))
    except Llm4RecError as error:
        return str(error).replace(str(run), "RUN")
    return None


def until_all(app: Served, version: str) -> float:
    """Seconds until all replicas answer with a version; each must have said so since it was last heard of another."""
    began, known = time.monotonic(), dict[str, str]()
    while time.monotonic() - began < LONGEST_S:
        _, status = app.client.call("/v1/status")
        known[status["replica"]] = status["model_version"]
        if len(known) >= REPLICAS and set(known.values()) == {version}:
            return time.monotonic() - began
        time.sleep(0.05)
    return float("inf")


def made(kind: str, source: Path, folder: Path, number: int) -> Path:
    """A run folder like another one, changed in one way."""
    folder.mkdir(parents=True)
    changed = "model" if kind == "NaN weights" else "index"
    for name in ("corpus", "features", "effects", "model", "index"):
        if name != changed:
            (folder / name).symlink_to((source / name).resolve())
    change: dict[str, Callable[[str, bytes], bytes]] = {
        "good": lambda name, data: data + b" " * (number + 1) if name == "prices.json" else data,
        "wrong sha": lambda name, data: data,
        "wrong dimension": lambda name, data: data,
        "NaN weights": lambda name, data: with_nan(data) if name == WEIGHTS else data,
        "worse": lambda name, data: data,
    }
    old = RunStore(str(source)).open(changed)
    with RunStore(str(folder)).write(changed, {}) as writer:
        for name in old.manifest["files"]:
            if name == "items.faiss" and kind in {"wrong dimension", "worse"}:
                vectors = ItemIndex.read(old).vectors
                rng = np.random.default_rng(number)
                other = vectors[:, : vectors.shape[1] // 2] if kind == "wrong dimension" else rng.permutation(vectors)
                ItemIndex.build(other).write(writer)
            else:
                writer.write_bytes(name, change[kind](name, old.read_bytes(name)))
    if kind == "wrong sha":
        path = folder / "index" / "items.faiss"
        contents = bytearray(path.read_bytes())
        contents[len(contents) // 2] ^= 1
        path.write_bytes(contents)
    return folder


def with_nan(weights: bytes) -> bytes:
    """Weights with one value that is none."""
    parts = load(weights)
    name = next(iter(parts))
    parts[name] = parts[name].copy()
    parts[name].flat[0] = np.nan
    return save(parts)


if __name__ == "__main__":
    main()

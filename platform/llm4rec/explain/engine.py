"""Which engine runs the language model that writes reasons."""

import tempfile
from pathlib import Path

import torch

from llm4rec.errors import ConfigError
from llm4rec.explain.config import ExplainConfig
from llm4rec.explain.continuous import ContinuousGenerator
from llm4rec.explain.generate import Generator
from llm4rec.explain.gguf import gguf_of, write_gguf
from llm4rec.explain.tune import Adapter


def load_generator(config: ExplainConfig, adapter: Adapter | None, threads: int) -> Generator | ContinuousGenerator:
    """The model of `explain.generator`, with what it has learnt, on the engine of `explain.engine`.

    Args:
        config: of the explanations.
        adapter: what fine-tuning learnt; None where it writes as it is.
        threads: how many compute, on CPUs.

    Raises:
        ConfigError: there is no such model here and none can be fetched, or the engine cannot read it.
    """
    packed = gguf_of(config.generator, "explain.generator")
    if config.engine == "openvino" and packed is None:
        raise ConfigError(
            f"explain.engine is openvino, which reads the packaged model alone, but explain.generator is "
            f"{config.generator!r}; set explain.engine to transformers or auto"
        )
    if packed is None or config.engine == "transformers" or (config.engine == "auto" and torch.cuda.is_available()):
        return Generator(config, adapter)
    if adapter is None:
        return ContinuousGenerator(config, packed, threads)
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder, "explainer.gguf")
        write_gguf(packed, adapter, weights)
        return ContinuousGenerator(config, weights, threads)

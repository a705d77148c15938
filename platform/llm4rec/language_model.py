"""Loading causal language models and their tokenizers, for every part that needs one."""

import copy
import functools
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from llm4rec.errors import ConfigError
from llm4rec.weights import SMOLLM2, language_model


def load_causal_lm(name: str, setting: str, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """A causal language model with its pre-trained weights, unpacked so that they can be trained.

    Args:
        name: `SMOLLM2`, a folder, or a name on the Hugging Face hub.
        setting: the key of the configuration that says so, for the message.
        dtype: of the weights.

    Raises:
        ConfigError: there is no such model here and none can be fetched.
    """
    place, packed = _place(name, setting)
    unpacked = {"quantization_config": GgufConfig(dequantize=True)} if packed else {}
    try:
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(place, dtype=dtype, **packed, **unpacked)
    except (OSError, ValueError) as error:
        raise _cannot_load(name, setting, error) from error
    return model


def load_tokenizer(name: str, setting: str, **options: Any) -> PreTrainedTokenizerBase:
    """The tokenizer of such a model.

    Raises:
        ConfigError: there is none here and none can be fetched.
    """
    place, packed = _place(name, setting)
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(place, **packed, **options)
    except (OSError, ValueError) as error:
        raise _cannot_load(name, setting, error) from error
    return tokenizer


def load_config(name: str, setting: str) -> PretrainedConfig:
    """The sizes of such a model, without its weights.

    Raises:
        ConfigError: there is no such model here and none can be fetched.
    """
    place, packed = _place(name, setting)
    try:
        if packed:
            return copy.deepcopy(_packed_config(place, **packed))
        config: PretrainedConfig = AutoConfig.from_pretrained(place)
    except (OSError, ValueError) as error:
        raise _cannot_load(name, setting, error) from error
    return config


@functools.cache
def _packed_config(place: str, gguf_file: str) -> PretrainedConfig:
    """The sizes in a GGUF file, in front of which all its words are read: seconds that each further model is spared."""
    config: PretrainedConfig = AutoConfig.from_pretrained(place, gguf_file=gguf_file)
    return config


def first_layers(model: PreTrainedModel, num_layers: int, setting: str) -> PreTrainedModel:
    """The decoder of a causal language model, in place cut to so many layers, counted from the input.

    Raises:
        ConfigError: it has fewer.
    """
    core: PreTrainedModel = model.get_submodule("model")  # type: ignore[assignment]
    layers = core.get_submodule("layers")
    assert isinstance(layers, nn.ModuleList)
    check_depth(len(layers), num_layers, setting)
    core.layers = layers[:num_layers]
    core.config.num_hidden_layers = num_layers
    return core


def check_depth(depth: int, num_layers: int, setting: str) -> None:
    """Refuse more layers than there are.

    Raises:
        ConfigError: see above.
    """
    if num_layers > depth:
        raise ConfigError(f"{setting}.num_layers: the backbone has {depth} layers, {num_layers} were asked for")


def suit_device(core: PreTrainedModel) -> None:
    """Choose the attention that trains fastest here: on a CPU the fused kernel's backward pass is the slower one."""
    if not torch.cuda.is_available():
        core.set_attn_implementation("eager")


def _place(name: str, setting: str) -> tuple[str, dict[str, str]]:
    transformers_logging.disable_progress_bar()
    place, gguf = language_model(name, setting)
    return place, {"gguf_file": gguf} if gguf else {}


def _cannot_load(name: str, setting: str, error: Exception) -> ConfigError:
    return ConfigError(
        f"{setting} {name!r} cannot be loaded: {' '.join(str(error).split())[:300]}; "
        f"give a local folder, a Hugging Face name, or {SMOLLM2!r}"
    )

"""The causal language model that reads soft tokens: loading, cutting to fewer layers, LoRA."""

import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, GgufConfig, PretrainedConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from llm4rec.errors import ConfigError
from llm4rec.model.config import ModelConfig
from llm4rec.weights import language_model

LORA_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def load_backbone(config: ModelConfig, *, with_weights: bool = True) -> PreTrainedModel:
    """The first `num_layers` layers of the backbone, in float32, without its token table.

    Args:
        config: which model, how many layers, LoRA or full.
        with_weights: False builds the same network without reading pre-trained weights (they come from an artifact).

    Raises:
        ConfigError: the model cannot be found or has fewer layers than asked for.
    """
    transformers_logging.disable_progress_bar()
    folder, gguf = language_model(config.backbone, "train.model.backbone")
    if config.pretrained and with_weights:
        core = _first_layers(_pretrained(folder, gguf), config)
    else:
        core = _random(folder, gguf, config)
    if not torch.cuda.is_available():
        core.set_attn_implementation("eager")  # on a CPU the fused kernel's backward pass takes a tenth of a step
    core.embed_tokens = nn.Identity()  # soft tokens are the only input, so the table would be dead weight
    if config.lora_rank:
        lora = LoraConfig(r=config.lora_rank, lora_alpha=int(config.lora_alpha), target_modules=LORA_TARGETS)
        for parameter in core.parameters():
            parameter.requires_grad_(False)
        inject_adapter_in_model(lora, core)
    return core


def _pretrained(folder: str, gguf: str | None) -> PreTrainedModel:
    # packed weights could not be trained
    extra = {"gguf_file": gguf, "quantization_config": GgufConfig(dequantize=True)} if gguf else {}
    try:
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **extra).model
    except (OSError, ValueError) as error:
        raise _cannot_load(folder, error) from None


def _random(folder: str, gguf: str | None, config: ModelConfig) -> PreTrainedModel:
    extra = {"gguf_file": gguf} if gguf else {}
    try:
        full: PretrainedConfig = AutoConfig.from_pretrained(folder, **extra)
    except (OSError, ValueError) as error:
        raise _cannot_load(folder, error) from None
    _check_depth(full.num_hidden_layers, config)
    full.num_hidden_layers = config.num_layers
    full.vocab_size = 8  # the token table is dropped right after
    full.pad_token_id = None
    return AutoModel.from_config(full, dtype=torch.float32)


def _cannot_load(folder: str, error: Exception) -> ConfigError:
    return ConfigError(f"model.backbone: cannot load {folder!r}: {' '.join(str(error).split())[:300]}")


def _first_layers(core: PreTrainedModel, config: ModelConfig) -> PreTrainedModel:
    layers = core.get_submodule("layers")
    assert isinstance(layers, nn.ModuleList)
    _check_depth(len(layers), config)
    core.layers = layers[: config.num_layers]
    core.config.num_hidden_layers = config.num_layers
    return core


def _check_depth(depth: int, config: ModelConfig) -> None:
    if config.num_layers > depth:
        raise ConfigError(f"model.num_layers: {config.backbone} has {depth} layers, {config.num_layers} were asked for")

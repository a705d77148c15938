"""The causal language model that reads soft tokens: cut to fewer layers, with or without LoRA."""

from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import nn
from transformers import AutoModel, PreTrainedModel

from llm4rec.language_model import check_depth, first_layers, load_causal_lm, load_config, suit_device
from llm4rec.model.config import ModelConfig

LORA_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
SETTING = "train.model"


def load_backbone(config: ModelConfig, *, with_weights: bool = True) -> PreTrainedModel:
    """The first `num_layers` layers of the backbone, in float32, without its token table.

    Args:
        config: which model, how many layers, LoRA or full.
        with_weights: False builds the same network without reading pre-trained weights (they come from an artifact).

    Raises:
        ConfigError: the model cannot be found or has fewer layers than asked for.
    """
    if config.pretrained and with_weights:
        core = first_layers(load_causal_lm(config.backbone, f"{SETTING}.backbone"), config.num_layers, SETTING)
    else:
        core = _random(config)
    suit_device(core)
    core.embed_tokens = nn.Identity()  # soft tokens are the only input, so the table would be dead weight
    if config.lora_rank:
        alpha: Any = config.lora_alpha  # peft says that it must be an integer, and only divides it by the rank
        lora = LoraConfig(r=config.lora_rank, lora_alpha=alpha, target_modules=LORA_TARGETS)
        for parameter in core.parameters():
            parameter.requires_grad_(False)
        inject_adapter_in_model(lora, core)
    return core


def _random(config: ModelConfig) -> PreTrainedModel:
    full = load_config(config.backbone, f"{SETTING}.backbone")
    check_depth(full.num_hidden_layers, config.num_layers, SETTING)
    full.num_hidden_layers = config.num_layers
    full.vocab_size = 8  # the token table is dropped right after
    full.pad_token_id = None
    return AutoModel.from_config(full, dtype=torch.float32)

"""A real, very small Llama with a tokenizer of eight words, for tests of what writes with it."""

import time
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

VOCABULARY = ["<pad>", "<end>", "you", "may", "like", "it", ".", "<unk>"]
CHAT = "{% for m in messages %}{{ m['content'] }} {% endfor %}"


def save_tiny_llama(path: Path) -> Path:
    """Save two layers with random weights, and the tokenizer, into a folder."""
    words = Tokenizer(models.WordLevel({word: code for code, word in enumerate(VOCABULARY)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<end>", unk_token="<unk>")
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(path)
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(VOCABULARY),
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            initializer_range=0.3,  # far enough apart that words can be told from each other
            eos_token_id=1,
            pad_token_id=0,
        )
    )
    model.save_pretrained(path)
    return path


def soon() -> float:
    """A deadline that only a fault misses."""
    return time.monotonic() + 60

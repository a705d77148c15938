"""Fine-tuning the language model that writes reasons, with low-rank adapters, on sentences known to be true."""

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from torch.nn import functional as F

from llm4rec.artifacts import Artifact, ArtifactWriter
from llm4rec.config import Precision
from llm4rec.device import best_device, number_type
from llm4rec.explain.chat import Chat
from llm4rec.explain.config import TuneConfig
from llm4rec.explain.prompt import Prompt
from llm4rec.language_model import load_causal_lm, suit_device

FOLDER = "explainer"
FILES = ("adapter_config.json", "adapter_model.safetensors")
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
WARM_UP = 0.1
TELL_EVERY = 10
IGNORED = -100


@dataclass(frozen=True)
class Example:
    """A prompt and what is to be written after its opening."""

    prompt: Prompt
    target: str


@dataclass(frozen=True)
class Adapter:
    """Low-rank adapters in the files of `peft`, by name."""

    files: dict[str, bytes]

    def write(self, writer: ArtifactWriter) -> None:
        """Write the files into a folder of an artifact."""
        for name, content in self.files.items():
            writer.write_bytes(f"{FOLDER}/{name}", content)

    @classmethod
    def read(cls, artifact: Artifact) -> "Adapter":
        """Read them from an opened artifact.

        Raises:
            ArtifactError: there are none.
        """
        return cls({name: artifact.read_bytes(f"{FOLDER}/{name}") for name in FILES})

    def on(self, model: nn.Module) -> Any:
        """A model with the adapters on it."""
        with tempfile.TemporaryDirectory() as folder:
            for name, content in self.files.items():
                Path(folder, name).write_bytes(content)
            return PeftModel.from_pretrained(model, folder)

    @property
    def scale(self) -> float:
        """What products of two factors count."""
        config = json.loads(self.files["adapter_config.json"])
        return float(config["lora_alpha"]) / int(config["r"])


def tune(
    generator: str,
    examples: Sequence[Example],
    config: TuneConfig,
    seed: int,
    tell: Callable[[str], None],
    precision: Precision = "auto",
) -> Adapter:
    """Learn adapters that make a model write the targets after the prompts.

    The loss is cross entropy of the target's tokens and of the one that ends it, their mean over a batch.

    Args:
        generator: the model, see `explain.generator`.
        examples: what to learn from, at least one.
        config: of the learning.
        seed: of order and initial adapters.
        tell: is told how it goes.
        precision: of the weights, see `explain.precision`.

    Raises:
        ConfigError: there is no such model here and none can be fetched.
        FloatingPointError: the loss is not finite.
    """
    torch.manual_seed(seed)
    chat = Chat(generator)
    model = _adapted(generator, config.rank, precision)
    rows = [_row(chat, example) for example in examples]
    steps = list(_batches(rows, config, seed))
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=config.learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, len(steps)))
    for number, batch in enumerate(steps, start=1):
        loss = _loss(model, batch, chat.tokenizer.pad_token_id)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss of step {number} is {loss.item()}; lower explain.tune.learning_rate")
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        schedule.step()
        if number % TELL_EVERY == 0 or number == len(steps):
            tell(f"explainer: step {number}/{len(steps)}, loss {loss.item():.3f}")
    return _adapter(model)


def _adapted(generator: str, rank: int, precision: Precision) -> Any:
    device = best_device()
    model = load_causal_lm(generator, "explain.generator", number_type(precision, device))
    suit_device(model)
    model.to(device)  # type: ignore[arg-type]
    # No dropout: one pass over examples that differ is too short to overfit.
    return get_peft_model(model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(PROJECTIONS)))


def _row(chat: Chat, example: Example) -> tuple[list[int], int]:
    """All tokens of an example, and how many of them are the prompt's."""
    prompt = chat.tokens(example.prompt)
    target = chat.tokenizer(f" {example.target}", add_special_tokens=False)["input_ids"]
    return [*prompt, *target, chat.tokenizer.eos_token_id], len(prompt)


def _batches(
    rows: Sequence[tuple[list[int], int]], config: TuneConfig, seed: int
) -> Iterator[list[tuple[list[int], int]]]:
    rng = np.random.default_rng(seed)
    for _ in range(config.epochs):
        order = rng.permutation(len(rows))
        for start in range(0, len(rows), config.batch_size):
            yield [rows[row] for row in order[start : start + config.batch_size]]


def _loss(model: Any, batch: Sequence[tuple[list[int], int]], pad: int) -> torch.Tensor:
    length = max(len(tokens) for tokens, _ in batch)
    ids = torch.full((len(batch), length), pad)
    labels = torch.full((len(batch), length), IGNORED)
    mask = torch.zeros((len(batch), length), dtype=torch.long)
    for row, (tokens, start) in enumerate(batch):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        labels[row, start : len(tokens)] = torch.tensor(tokens[start:])
        mask[row, : len(tokens)] = 1
    causal = model.get_base_model()
    ids, labels, mask = (tensor.to(causal.device) for tensor in (ids, labels, mask))
    states = causal.get_decoder()(input_ids=ids, attention_mask=mask).last_hidden_state[:, :-1]
    wanted = labels[:, 1:] != IGNORED
    # The vocabulary is a fifth of the work: it is scored where the target is, and nowhere else.
    logits = causal.get_output_embeddings()(states[wanted])
    return F.cross_entropy(logits.float(), labels[:, 1:][wanted])


def _rate(step: int, total: int) -> float:
    rising = max(1, round(WARM_UP * total))
    return min((step + 1) / rising, (total - step) / max(1, total - rising))


def _adapter(model: Any) -> Adapter:
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return Adapter({name: Path(folder, name).read_bytes() for name in FILES})

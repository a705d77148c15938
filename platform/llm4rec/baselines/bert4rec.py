"""BERT4Rec: a transformer that reads both ways and fills gaps."""

import numpy as np

from llm4rec.baselines.config import BERT4RecConfig
from llm4rec.baselines.sequence import IGNORED, SequenceModel
from llm4rec.baselines.transformer import Transformer
from llm4rec.schema import IntVector


class BERT4Rec(SequenceModel):
    """Sequential recommendation with bidirectional transformers (Sun et al., CIKM 2019).

    As there, the loss is softmax cross entropy over the whole catalogue at hidden items. Unlike there: blocks normalise
    before attention, scores are inner products with the item embeddings and nothing between, positions count from the
    end, and instead of a copy of each history with its last item hidden a share of the windows, which are cut anew each
    epoch, is treated so. It learns from a fifth of the positions that SASRec learns from, and wants more epochs
    (Petrov and Macdonald, A systematic review and replicability study of BERT4Rec, RecSys 2022).
    """

    name = "bert4rec"
    config: BERT4RecConfig

    def __init__(self, config: BERT4RecConfig) -> None:
        super().__init__(config)

    def new_network(self, num_items: int) -> Transformer:
        """A transformer without a causal mask."""
        return Transformer(num_items, self.config, causal=False)

    def example(self, window: IntVector, num_items: int, rng: np.random.Generator) -> tuple[IntVector, IntVector]:
        """The window with some items hidden, at least one, and those."""
        hidden = np.zeros(len(window), np.bool_)
        if rng.random() >= self.config.last_share:
            hidden = rng.random(len(window)) < self.config.mask_share
        hidden[-1] |= not hidden.any()
        return np.where(hidden, num_items, window), np.where(hidden, window, IGNORED)

    def question(self, items: IntVector, num_items: int) -> IntVector:
        """The newest items and a hidden one after them."""
        return np.append(items[-self.config.history_length :], num_items).astype(np.int32)

"""TIGER: a transformer that writes the semantic id of the next item, code by code.

Shapes: B histories, L positions, C codes an item, K codes a level, D embedding size, H heads, T tokens of a history,
N nodes of a level of the tree of ids.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from llm4rec.baselines.config import TIGERConfig
from llm4rec.baselines.dropout import Dropout
from llm4rec.baselines.sequence import PADDING, SequenceModel, SequenceNetwork, padded
from llm4rec.baselines.transformer import Block
from llm4rec.schema import FloatMatrix, History, IntVector
from llm4rec.semantic_ids import SemanticIds, TreeLevel, tree

Cache = tuple[Tensor, Tensor]
"""Keys and values."""
SCORE_BATCH = 16


@dataclass(frozen=True)
class Step:
    """One level of the walk down the tree, which goes on only where there is still a choice: other chances are 1.

    Attributes:
        parent: of each node of this level, its node of the level above, shape (N,).
        child: the nodes of this level whose parents the walk has reached, shape (n,).
        way: of each of these, its parent's place among those that the walk has reached.
        code: of each of these, its code.
        onward: those of these from which the walk goes on, by their place among them, shape (m,).
    """

    parent: IntVector
    child: IntVector
    way: IntVector
    code: IntVector
    onward: IntVector


def walk(levels: Sequence[TreeLevel]) -> list[Step]:
    """The steps from the root, past all beginnings with more than one item, to the leaves."""
    goes_on = [np.zeros(len(levels[-1].parent), bool)]
    for above, below in zip(levels[-2::-1], levels[:0:-1], strict=True):
        children = np.bincount(below.parent, minlength=len(above.parent))
        leads = np.bincount(below.parent, goes_on[0], minlength=len(above.parent))
        goes_on.insert(0, (children > 1) | (leads > 0))
    steps, reached = [], np.zeros(1, np.int32)
    for nodes, goes in zip(levels, goes_on, strict=True):
        child = np.flatnonzero(np.isin(nodes.parent, reached)).astype(np.int32)
        way = np.searchsorted(reached, nodes.parent[child]).astype(np.int32)
        onward = np.flatnonzero(goes[child]).astype(np.int32)
        steps.append(Step(nodes.parent, child, way, nodes.code[child], onward))
        reached = child[onward]
    return steps


class TreeBlock(Block):
    """A block that can also go on from a history along many ways at once."""

    def read(self, states: Tensor) -> tuple[Tensor, Cache]:
        """States (B, T, D) of a history, each seeing those before it, with its keys and values (B, H, T, D / H)."""
        _, key, value = self._heads(self.attention_norm(states))
        return self(states, None), (key, value)

    def extend(self, states: Tensor, history: Cache, real: Tensor, path: Cache) -> tuple[Tensor, Cache]:
        """States (B, N, D) of one more code on each of N ways, which see the history and their own path.

        Args:
            states: before the block.
            history: keys and values of the history.
            real: which of its tokens are no padding, shape (B, 1, 1, T).
            path: keys and values of the codes so far, shape (B, H, N, codes, D / H).

        Returns:
            The states after the block, and the path with the new codes.
        """
        query, key, value = self._heads(self.attention_norm(states))
        path = torch.cat([path[0], key[..., None, :]], dim=3), torch.cat([path[1], value[..., None, :]], dim=3)
        past = (query @ history[0].transpose(-1, -2)).masked_fill(~real, -torch.inf)
        own = torch.einsum("bhnd,bhncd->bhnc", query, path[0])
        weights = (torch.cat([past, own], dim=-1) / query.shape[-1] ** 0.5).softmax(dim=-1)
        of_past, of_own = weights.split([past.shape[-1], own.shape[-1]], dim=-1)
        mixed = of_past @ history[1] + torch.einsum("bhnc,bhncd->bhnd", of_own, path[1])
        states = states + self._joined(mixed)
        return states + self.feed_forward(states), path


class TIGERNetwork(SequenceNetwork):
    """Reads items as codes; the state at a code's place has seen all codes before it and predicts that code."""

    def __init__(self, codes: IntVector, config: TIGERConfig) -> None:
        super().__init__()
        self.num_items, self.num_codes = codes.shape
        self.sizes = [int(size) for size in codes.max(axis=0) + 1]
        width = config.embedding_size
        levels, leaf = tree(codes)
        self.leaf: Tensor
        self.codes: Tensor
        fixed = {"leaf": leaf, "codes": codes}
        for level, step in enumerate(walk(levels)):
            fixed |= {f"{name}_{level}": numbers for name, numbers in vars(step).items()}
        for name, numbers in fixed.items():
            self.register_buffer(name, torch.from_numpy(numbers).long(), persistent=False)
        tables = [nn.Parameter(torch.randn(size, width) * width**-0.5) for size in self.sizes]
        self.code_embs = nn.ParameterList(tables)
        self.position_emb = nn.Embedding(config.history_length + 1, width)
        self.level_emb = nn.Embedding(self.num_codes, width)
        self.start = nn.Parameter(torch.randn(width) * width**-0.5)
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(
            TreeBlock(width, config.num_heads, config.dropout) for _ in range(config.num_blocks)
        )
        self.final_norm = nn.LayerNorm(width)
        for table in (self.position_emb, self.level_emb):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """Items (B, L) to the states of the places of their codes, (B, L, C, D)."""
        states = self.dropout(self._embedded(tokens)[:, :-1])
        for block in self.blocks:
            states = block(states, None)
        return self.final_norm(states).unflatten(1, (tokens.shape[1], self.num_codes))

    def level_logits(self, states: Tensor, level: int) -> Tensor:
        """States (..., D) to logits (..., K) of the codes of a level."""
        return states @ self.code_embs[level].T

    def item_scores(self, rows: Sequence[IntVector]) -> Tensor:
        """Log probabilities of all items after each history, shape (B, I); a node's children share its probability."""
        device = self.start.device
        tokens = padded(rows, PADDING).to(device)
        length = torch.tensor([len(row) * self.num_codes for row in rows], device=device)
        states = self._embedded(tokens)
        real = (torch.arange(states.shape[1], device=device) <= length[:, None])[:, None, None]
        histories: list[Cache] = []
        blocks = [block for block in self.blocks if isinstance(block, TreeBlock)]
        for block in blocks:
            states, cache = block.read(states)
            histories.append(cache)
        states = states[torch.arange(len(rows), device=device), length][:, None]
        heads = blocks[0].num_heads
        empty = states.new_zeros(len(rows), heads, 1, 0, states.shape[-1] // heads)
        paths: list[Cache] = [(empty, empty) for _ in blocks]
        total = states.new_zeros(len(rows), 1)
        for level in range(self.num_codes):
            parent, child, way, code, onward = (self.get_buffer(f"{name}_{level}") for name in Step.__annotations__)
            logits = self.level_logits(self.final_norm(states), level)[:, way, code]
            log_p = logits - _sum_by(logits, way, states.shape[1])[:, way]
            total = total[:, parent].index_add(1, child, log_p)
            if level + 1 < self.num_codes:
                states = self.code_embs[level][code[onward]] + self._place(length + 1 + level)[:, None]
                for depth, block in enumerate(blocks):
                    path = paths[depth][0][:, :, way[onward]], paths[depth][1][:, :, way[onward]]
                    states, paths[depth] = block.extend(states, histories[depth], real, path)
        return total[:, self.leaf]

    def _embedded(self, tokens: Tensor) -> Tensor:
        """A start and the codes of items (B, L), shape (B, 1 + L C, D); the last place may have no position left."""
        codes = self.codes[tokens.clamp(min=0)]
        embedded = torch.stack([table[codes[..., level]] for level, table in enumerate(self.code_embs)], dim=2)
        start = self.start.expand(len(tokens), 1, -1)
        states = torch.cat([start, embedded.flatten(1, 2)], dim=1)
        return states + self._place(torch.arange(states.shape[1], device=states.device))

    def _place(self, place: Tensor) -> Tensor:
        """What stands for a place in the series of codes: that of the item and that of the code to be predicted."""
        item = (place // self.num_codes).clamp(max=self.position_emb.num_embeddings - 1)
        return self.position_emb(item) + self.level_emb(place % self.num_codes)


def _sum_by(logits: Tensor, parent: Tensor, num_parents: int) -> Tensor:
    """The log of the sum of the exponentials of each parent's children, shape (B, parents)."""
    index = parent.expand_as(logits)
    highest = logits.new_full((len(logits), num_parents), -torch.inf).scatter_reduce(1, index, logits, "amax")
    sums = torch.zeros_like(highest).scatter_add(1, index, (logits - highest.gather(1, index)).exp())
    return sums.log() + highest


class TIGER(SequenceModel):
    """Recommender systems with generative retrieval (Rajput et al., NeurIPS 2023).

    Semantic ids are those of residual k-means instead of an RQ-VAE, which did as well in Cornac's reproduction; one
    causal transformer reads and writes, instead of an encoder and a decoder, and no user token is read. Items are
    scored exactly, by the probability of their codes among those that some item has; the paper searches with a beam.
    """

    name = "tiger"
    config: TIGERConfig

    def __init__(self, config: TIGERConfig, vectors: FloatMatrix) -> None:
        """Take settings and the content of the warm items, shape (I, D), or of more, of which the first are taken."""
        super().__init__(config)
        self.vectors = vectors
        self._network: TIGERNetwork | None = None

    def new_network(self, num_items: int) -> TIGERNetwork:
        """A transformer over the codes of the items."""
        config = self.config
        ids = SemanticIds.fit(self.vectors[:num_items], config.levels, config.codebook_size, config.seed)
        return TIGERNetwork(ids.codes, config)

    def example(self, window: IntVector, num_items: int, rng: np.random.Generator) -> tuple[IntVector, IntVector]:
        """The items themselves: the network shifts their codes."""
        return window, window

    def step_loss(self, network: SequenceNetwork, tokens: Tensor, targets: Tensor) -> Tensor:
        """The sum over codes of their mean cross entropy."""
        assert isinstance(network, TIGERNetwork)
        wanted = tokens != PADDING
        states, codes = network(tokens)[wanted], network.codes[tokens[wanted]]
        losses = [
            functional.cross_entropy(network.level_logits(states[:, level], level), codes[:, level])
            for level in range(network.num_codes)
        ]
        return torch.stack(losses).sum()

    def score(self, users: IntVector, histories: Sequence[History]) -> FloatMatrix:
        """Log probabilities of all warm items, shape (len(users), warm items)."""
        network = self._network
        assert isinstance(network, TIGERNetwork), "fit comes before score"
        network.eval()
        scores = np.empty((len(histories), network.num_items), np.float32)
        with torch.inference_mode():
            for first in range(0, len(histories), SCORE_BATCH):
                rows = [h.item[-self.config.history_length :] for h in histories[first : first + SCORE_BATCH]]
                scores[first : first + len(rows)] = network.item_scores(rows).cpu().numpy()
        return scores

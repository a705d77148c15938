"""A head that writes the semantic id of the next item, code by code, from a user's state.

Shapes: B users, I items, D width, C codes an item, K codes a level, N nodes of a level of the tree of ids, W ways of a
beam, M beginnings looked at for each state.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from llm4rec.artifacts import Artifact, ArtifactWriter
from llm4rec.errors import ArtifactError, DataError
from llm4rec.schema import BoolVector, FloatMatrix, FloatVector, IntVector, LongVector
from llm4rec.semantic_ids import GenerativeConfig, SemanticIds, tree
from llm4rec.table_rows import with_rows

FILE = "generative.safetensors"
BATCH, LEARNING_RATE, BEGINNINGS = 256, 3e-3, 4


class GenerativeHead(nn.Module):
    """The chance of each code of a level, given h_u and the codes before.

    Its logit is <h_u + f(h_u, sum of centres so far), centre_k> / tau + b_k. A vector is nearly the sum of its centres,
    so without f and b the logits of an item's codes add up to nearly its own; f learns what the items below a code add
    to its chance.
    """

    def __init__(self, centres: Sequence[FloatMatrix], hidden_size: int, temperature: float) -> None:
        super().__init__()
        width = centres[0].shape[1]
        self.temperature = temperature
        self.tables = nn.ParameterList(nn.Parameter(torch.from_numpy(np.array(table)).float()) for table in centres)
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(len(table))) for table in centres)
        self.layers = nn.ModuleList(_silent_layer(width, hidden_size) for _ in centres)

    def begun(self, codes: Tensor) -> Tensor:
        """What stands for the codes so far, shape (..., levels), of any number: the sum of their centres, (..., D)."""
        parts = [self.tables[level][codes[..., level]] for level in range(codes.shape[-1])]
        return sum(parts, start=torch.zeros(*codes.shape[:-1], self.tables[0].shape[1]))

    def forward(self, states: Tensor, begun: Tensor, level: int) -> Tensor:
        """Logits (..., K) of the codes of a level, from states (..., D) and what `begun` says of the codes before."""
        moved = states + self.layers[level](torch.cat([states, begun], dim=-1))
        return moved @ self.tables[level].T / self.temperature + self.biases[level]


def _silent_layer(width: int, hidden_size: int) -> nn.Sequential:
    """The f of a level, which says nothing before training."""
    last = nn.Linear(hidden_size, width)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(2 * width, hidden_size), nn.GELU(), last)


@dataclass(frozen=True)
class Found:
    """What was written for one user.

    Attributes:
        items: item codes, most probable first, shape (n,).
        codes: what was written, shape (n, C).
        log_probability: of each, shape (n,).
    """

    items: IntVector
    codes: IntVector
    log_probability: FloatVector


class Tree:
    """The tree of a catalogue's ids, walked from the root.

    Attributes:
        levels: its nodes, level by level.
        item_of_leaf: the item of each node of the last level.
        node_of_item: of each level, the node that each item is below, shape (I,).
    """

    def __init__(self, codes: IntVector) -> None:
        """Make it of the codes of all items, shape (I, C)."""
        self.levels, leaf = tree(codes)
        # A node's children lie side by side, since nodes are sorted by parent.
        counts = [1, *(len(level.code) for level in self.levels)]
        self._first = [
            np.searchsorted(level.parent, np.arange(above + 1))
            for level, above in zip(self.levels, counts, strict=False)
        ]
        self.item_of_leaf: LongVector = np.argsort(leaf, kind="stable")
        above = [leaf]
        for level in reversed(self.levels[1:]):
            above.append(level.parent[above[-1]])
        self.node_of_item: list[IntVector] = above[::-1]

    def children(self, depth: int, nodes: LongVector) -> tuple[LongVector, Tensor]:
        """The children of some nodes of the level above `depth`, and of which of these each is."""
        first, last = self._first[depth][nodes], self._first[depth][nodes + 1]
        spans = [np.arange(a, b) for a, b in zip(first, last, strict=True)]
        found = np.concatenate([np.empty(0, np.int64), *spans])
        return found, torch.from_numpy(np.repeat(np.arange(len(nodes)), last - first))


class IdGenerator:
    """Writes ids of a catalogue's items and of nothing else.

    The codes from content come from the head. The last one, among items that share them, is drawn by the scores of
    those items themselves, <h_u, e_i> / tau, so that an item without training is as much in reach as any.
    """

    def __init__(self, head: GenerativeHead, ids: SemanticIds, vectors: FloatMatrix, num_trained: int) -> None:
        """Take a head, ids and vectors (I, D) of a catalogue, and how many of its items the head has learnt from."""
        self.head, self.ids, self.num_trained = head.eval(), ids, num_trained
        self.vectors = torch.from_numpy(np.asarray(vectors, np.float32))

    @cached_property
    def _tree(self) -> "Tree":
        """Made when it is first asked for: of many changes to a catalogue in a row only the last needs one."""
        return Tree(self.ids.codes)

    def put(self, codes: Sequence[int], vectors: FloatMatrix) -> "IdGenerator":
        """With other vectors of some items, or with more items, whose codes are the next free ones.

        Args:
            codes: of the items, shape (n,), each once.
            vectors: shape (n, D). An id stays if the head has learnt it; what came later is given one anew.
        """
        at = np.array(codes)
        later = at >= self.num_trained
        ids = self.ids.put(at[later], vectors[later])
        return IdGenerator(self.head, ids, with_rows(self.vectors.numpy(), at, vectors), self.num_trained)

    @property
    def num_items(self) -> int:
        """I."""
        return len(self.vectors)

    def write_ids(self, state: FloatVector, eligible: BoolVector, beams: int) -> Found:
        """The most probable eligible items, as many as there are ways, or all of them if there are fewer.

        Beam search over the tree of ids. A beginning that no eligible item has is not followed.

        Args:
            state: h_u, shape (D,).
            eligible: which items may be written, shape (I,).
            beams: W, how many ways are followed at once.

        Raises:
            DataError: state or mask of another shape.
        """
        if state.shape != (self.vectors.shape[1],) or eligible.shape != (self.num_items,):
            wanted = f"({self.vectors.shape[1]},) and ({self.num_items},)"
            raise DataError(f"state and eligible must have shapes {wanted}, got {state.shape} and {eligible.shape}")
        h, tree_ = torch.from_numpy(np.asarray(state, np.float32)), self._tree
        nodes, score = np.zeros(1, np.int64), torch.zeros(1)
        codes = torch.zeros(1, 0, dtype=torch.long)
        with torch.inference_mode():
            for depth, level in enumerate(tree_.levels):
                children, way = tree_.children(depth, nodes)
                logits = self._logits(h, codes, depth, children, way)
                score = score[way] + logits - _log_sums(logits, way, len(nodes))[way]
                open_ = np.zeros(len(level.code), np.bool_)
                open_[tree_.node_of_item[depth][eligible]] = True
                kept = torch.from_numpy(np.flatnonzero(open_[children]))
                best = kept[score[kept].argsort(descending=True, stable=True)[:beams]]
                nodes, score = children[best.numpy()], score[best]
                chosen = torch.from_numpy(level.code[nodes]).long()
                codes = torch.cat([codes[way[best]], chosen[:, None]], dim=1)
        items = tree_.item_of_leaf[nodes].astype(np.int32)
        return Found(items, codes.numpy().astype(np.int32), score.numpy())

    def _logits(self, h: Tensor, codes: Tensor, depth: int, children: LongVector, way: Tensor) -> Tensor:
        if depth == len(self._tree.levels) - 1:
            return self.vectors[self._tree.item_of_leaf[children]] @ h / self.head.temperature
        logits = self.head(h.expand(len(codes), -1), self.head.begun(codes), depth)
        return logits[way, torch.from_numpy(self._tree.levels[depth].code[children]).long()]

    def write(self, writer: ArtifactWriter) -> None:
        """Write the head and all items' codes as one file of an artifact."""
        ids = {f"ids.{level}": torch.from_numpy(centres) for level, centres in enumerate(self.ids.centres)}
        ids["ids.codes"] = torch.from_numpy(self.ids.codes)
        writer.write_bytes(FILE, save({**self.head.state_dict(), **ids}))

    @classmethod
    def read(cls, artifact: Artifact, vectors: FloatMatrix, temperature: float) -> Self:
        """Read what `write` wrote, for a catalogue with vectors (I, D).

        Raises:
            ArtifactError: the artifact holds no head, or it is of another catalogue.
        """
        if FILE not in artifact.manifest["files"]:
            raise ArtifactError(f"{artifact.path} holds no generative head; run {artifact.job} again")
        tensors = load(artifact.read_bytes(FILE))
        codes = tensors.pop("ids.codes").numpy()
        if len(codes) != len(vectors):
            raise ArtifactError(
                f"{artifact.path} has {len(codes)} semantic ids for {len(vectors)} items; run {artifact.job} again"
            )
        centres = tuple(tensors.pop(f"ids.{level}").numpy() for level in range(codes.shape[1] - 1))
        head = GenerativeHead(centres, len(tensors["layers.0.0.bias"]), temperature)
        head.load_state_dict(tensors)
        return cls(head, SemanticIds(codes, centres), vectors, len(vectors))


def learn_generator(
    states: FloatMatrix,
    vectors: FloatMatrix,
    temperature: float,
    config: GenerativeConfig,
    seed: int,
    progress: Callable[[str], None] = lambda line: None,
) -> IdGenerator:
    """Ids of a catalogue and a head that learns to write them as the scoring path would choose.

    The scores of all items, softmax(<h_u, e_i> / tau), say what chance each code has after any beginning: the sum over
    the items below. The head learns these chances (distillation, Hinton et al. 2015), level by level, after beginnings
    drawn from the same scores, which tells far more of a state than the one item that came next.

    Args:
        states: users' states after anything they did in the train split, shape (n, D).
        vectors: of all items, shape (I, D).
        temperature: tau.
        config: sizes and steps.
        seed: of centres, layers and the order of states.
        progress: told how training goes.
    """
    torch.manual_seed(seed)
    ids = SemanticIds.fit(vectors, config.levels, config.codebook_size, seed)
    head = GenerativeHead(ids.centres, config.hidden_size, temperature)
    optimizer = torch.optim.AdamW(head.parameters(), LEARNING_RATE, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)
    known, items = torch.from_numpy(np.asarray(states, np.float32)), torch.from_numpy(np.asarray(vectors, np.float32))
    codes = torch.from_numpy(ids.codes).long()
    for step in range(1, config.steps + 1):
        rows = torch.randint(len(known), (BATCH,))
        loss = _loss(head, known[rows], items, codes, temperature)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % max(1, config.steps // 10) == 0:
            progress(f"semantic ids: step {step}/{config.steps}, loss {loss.item():.3f}")
    return IdGenerator(head, ids, vectors, len(vectors))


def _loss(head: GenerativeHead, h: Tensor, items: Tensor, codes: Tensor, temperature: float) -> Tensor:
    """The cross entropy of the head's codes with the scores' chances, summed over levels."""
    with torch.no_grad():
        chance = (h @ items.T / temperature).softmax(dim=1)
        drawn = torch.multinomial(chance, BEGINNINGS, replacement=True)
    total = torch.zeros(())
    for level in range(len(head.tables)):
        for column in range(BEGINNINGS if level else 1):
            begun = codes[drawn[:, column], :level]
            below = (codes[None, :, :level] == begun[:, None]).all(dim=2)
            size = len(head.tables[level])
            target = torch.zeros(len(h), size).index_add_(1, codes[:, level], chance * below)
            exists = torch.zeros(len(h), size).index_add_(1, codes[:, level], below.float()) > 0
            logits = head(h, head.begun(begun), level).masked_fill(~exists, torch.finfo(h.dtype).min)
            share = target / target.sum(dim=1, keepdim=True)
            total = total - (share * logits.log_softmax(dim=1)).sum(dim=1).mean() / (BEGINNINGS if level else 1)
    return total


def _log_sums(logits: Tensor, group: Tensor, groups: int) -> Tensor:
    """The log of the sum of exponentials in each group, shape (groups,)."""
    highest = torch.full((groups,), -torch.inf).scatter_reduce(0, group, logits, "amax")
    sums = torch.zeros(groups).scatter_add(0, group, (logits - highest[group]).exp())
    return sums.log() + highest

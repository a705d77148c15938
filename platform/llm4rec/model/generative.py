"""A head that writes the semantic id of the next item, code by code, from a user's state.

Shapes: B users, I items, D width, C codes an item, K codes a level, N nodes of a level of the tree of ids, W ways of a
beam, M beginnings looked at for each state.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from llm4rec.artifacts import Artifact, ArtifactWriter
from llm4rec.errors import ArtifactError, DataError
from llm4rec.schema import BoolVector, FloatMatrix, FloatVector, IntVector
from llm4rec.semantic_ids import GenerativeConfig, SemanticIds, tree

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
        log_probability: of each, shape (n,).
    """

    items: IntVector
    log_probability: FloatVector


class Generator:
    """Writes ids of a catalogue's items and of nothing else.

    The codes from content come from the head. The last one, among items that share them, is drawn by the scores of
    those items themselves, <h_u, e_i> / tau, so that an item without training is as much in reach as any.
    """

    def __init__(self, head: GenerativeHead, ids: SemanticIds, vectors: FloatMatrix, beams: int) -> None:
        """Take a head, the ids and vectors (I, D) of a catalogue, and how many ways are followed at once."""
        self.head, self.ids, self.beams = head.eval(), ids, beams
        self.vectors = torch.from_numpy(np.asarray(vectors, np.float32))
        levels, leaf = tree(ids.codes)
        self._levels = levels
        # A node's children lie side by side, since nodes are sorted by parent.
        counts = [1, *(len(level.code) for level in levels)]
        self._first = [
            np.searchsorted(level.parent, np.arange(above + 1)) for level, above in zip(levels, counts, strict=False)
        ]
        self._item_of_leaf = np.argsort(leaf, kind="stable")
        ancestors = [leaf]
        for level in reversed(levels[1:]):
            ancestors.append(level.parent[ancestors[-1]])
        self._node_of_item = ancestors[::-1]

    def replaced(self, item: int, vector: FloatVector) -> "Generator":
        """With another vector of an item, shape (D,), which keeps its id."""
        vectors = self.vectors.numpy().copy()
        vectors[item] = vector
        return Generator(self.head, self.ids, vectors, self.beams)

    @property
    def num_items(self) -> int:
        """I."""
        return len(self.vectors)

    def extended(self, vectors: FloatMatrix) -> "Generator":
        """With more items, whose ids need no training; vectors (n, D)."""
        everything = np.vstack([self.vectors.numpy(), vectors])
        return Generator(self.head, self.ids.extended(vectors), everything, self.beams)

    def write_ids(self, state: FloatVector, eligible: BoolVector, at_least: int = 1) -> Found:
        """The most probable eligible items, as many as there are ways, or all of them if there are fewer.

        Beam search over the tree of ids. A beginning that no eligible item has is not followed.

        Args:
            state: h_u, shape (D,).
            eligible: which items may be written, shape (I,).
            at_least: items wanted; more ways are followed if this is more than there are.

        Raises:
            DataError: state or mask of another shape.
        """
        if state.shape != (self.vectors.shape[1],) or eligible.shape != (self.num_items,):
            wanted = f"({self.vectors.shape[1]},) and ({self.num_items},)"
            raise DataError(f"state and eligible must have shapes {wanted}, got {state.shape} and {eligible.shape}")
        h = torch.from_numpy(np.asarray(state, np.float32))
        ways, score = np.zeros(1, np.int64), torch.zeros(1)
        codes = torch.zeros(1, 0, dtype=torch.long)
        with torch.inference_mode():
            for depth, level in enumerate(self._levels):
                children, way = self._children(depth, ways)
                logits = self._logits(h, codes, depth, children, way)
                score = score[way] + logits - _log_sums(logits, way, len(ways))[way]
                open_ = np.zeros(len(level.code), np.bool_)
                open_[self._node_of_item[depth][eligible]] = True
                kept = torch.from_numpy(np.flatnonzero(open_[children]))
                best = kept[score[kept].argsort(descending=True, stable=True)[: max(self.beams, at_least)]]
                ways, score = children[best.numpy()], score[best]
                chosen = torch.from_numpy(level.code[ways]).long()
                codes = torch.cat([codes[way[best]], chosen[:, None]], dim=1)
        return Found(self._item_of_leaf[ways].astype(np.int32), score.numpy())

    def _children(self, depth: int, ways: np.ndarray) -> tuple[np.ndarray, Tensor]:
        """Nodes below some nodes, and which of these each is below."""
        first, last = self._first[depth][ways], self._first[depth][ways + 1]
        spans = [np.arange(a, b) for a, b in zip(first, last, strict=True)]
        return np.concatenate([np.empty(0, np.int64), *spans]), torch.from_numpy(
            np.repeat(np.arange(len(ways)), last - first)
        )

    def _logits(self, h: Tensor, codes: Tensor, depth: int, children: np.ndarray, way: Tensor) -> Tensor:
        if depth == len(self._levels) - 1:
            return self.vectors[self._item_of_leaf[children]] @ h / self.head.temperature
        logits = self.head(h.expand(len(codes), -1), self.head.begun(codes), depth)
        return logits[way, torch.from_numpy(self._levels[depth].code[children]).long()]

    def write(self, writer: ArtifactWriter) -> None:
        """Write the head and all items' codes as one file of an artifact."""
        ids = {f"ids.{level}": torch.from_numpy(centres) for level, centres in enumerate(self.ids.centres)}
        ids["ids.codes"] = torch.from_numpy(self.ids.codes)
        writer.write_bytes(FILE, save({**self.head.state_dict(), **ids}))

    @classmethod
    def read(cls, artifact: Artifact, vectors: FloatMatrix, config: GenerativeConfig, temperature: float) -> Self:
        """Read what `write` wrote, for a catalogue with vectors (I, D).

        Raises:
            ArtifactError: the artifact holds no head, or it is of another catalogue.
        """
        if FILE not in artifact.manifest["files"]:
            raise ArtifactError(f"{artifact.path} holds no generative head; run jobs/index.py again")
        tensors = load(artifact.read_bytes(FILE))
        codes = tensors.pop("ids.codes").numpy()
        if len(codes) != len(vectors):
            raise ArtifactError(
                f"{artifact.path} has {len(codes)} semantic ids for {len(vectors)} items; run jobs/index.py again"
            )
        centres = tuple(tensors.pop(f"ids.{level}").numpy() for level in range(codes.shape[1] - 1))
        head = GenerativeHead(centres, config.hidden_size, temperature)
        head.load_state_dict(tensors)
        return cls(head, SemanticIds(codes, centres), vectors, config.beams)


def learn_generator(
    states: FloatMatrix,
    vectors: FloatMatrix,
    temperature: float,
    config: GenerativeConfig,
    seed: int,
    progress: Callable[[str], None] = lambda line: None,
) -> Generator:
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
    return Generator(head, ids, vectors, config.beams)


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

"""Training windows: histories cut to the length the backbone reads, with the next item as every position's target."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from llm4rec.evaluate.metrics import Labels, popular_items
from llm4rec.model.inputs import PADDING, HistoryBatch, HistoryCodec, IntMatrix
from llm4rec.schema import TRAIN, BoolVector, Corpus, FloatMatrix, FloatVector, History

POPULAR_SHARE = 0.2
"""Of the catalogue, most popular items first, whose exposure the parity penalty looks at."""

WIDTHS = 8
"""Batches are as wide as a multiple of this, or as histories are at most: few widths, since for each new one a CPU has
to compile its bfloat16 products, and of a size that suits a GPU."""


@dataclass(frozen=True)
class Outcomes:
    """What is known of outcomes. Shapes: W windows, T positions, I_warm items, K.

    Attributes:
        good: whether the outcome of each target was good, 0 or 1, shape (W, T).
        share: what the pairs of each window's user count for at each of its targets, shape (W,); mean 1 over targets.
        users: of the imputed log odds, each window's user, shape (W, K); K is 0 where nothing is imputed.
        items: and each warm item, shape (I_warm, K): the log odds are inner products.
    """

    good: FloatMatrix
    share: FloatVector
    users: FloatMatrix
    items: FloatMatrix

    def rows(self, rows: IntMatrix, positions: slice) -> "Outcomes":
        """Some windows, cut to some positions."""
        return Outcomes(self.good[rows, positions], self.share[rows], self.users[rows], self.items)


@dataclass(frozen=True)
class Totals:
    """An even share of a whole batch's targets.

    Attributes:
        targets: how many.
        weight: the sum of their weights.
        frequencies: by attribute, which share of them each code has.
    """

    targets: float
    weight: float
    frequencies: tuple[FloatVector, ...] = ()


@dataclass(frozen=True)
class Windows:
    """All windows of a corpus. Shapes: W windows, L history length, T = L + 1 positions, A attributes.

    Attributes:
        history: what is read, shape (W, L).
        attributes: the users' attribute codes, shape (W, A).
        target: the item after each position, shape (W, T); PADDING where there is none.
        weight: the target's propensity weight, shape (W, T).
        popular: which warm items are popular, shape (I_warm,).
        user: whose they are, external ids, shape (W,).
        item_ids: external ids of items, by code.
        outcomes: what is known of outcomes, where they are predicted.
        totals: what means over a batch's targets are to be taken over, where it is a part of a batch.
    """

    history: HistoryBatch
    attributes: IntMatrix
    target: IntMatrix
    weight: FloatMatrix
    popular: BoolVector
    user: Labels
    item_ids: Sequence[str]
    outcomes: Outcomes | None = None
    totals: Totals | None = None

    def __len__(self) -> int:
        return len(self.target)

    def batches(
        self,
        batch_size: int,
        *,
        seed: int,
        epoch: int,
        rank: int = 0,
        world_size: int = 1,
        parts: int = 1,
        first_step: int = 0,
    ) -> Iterator["Windows"]:
        """One rank's share of one epoch's shuffled batches; every rank gets equally many.

        The order depends on seed and epoch alone, so that any number of workers sees the same global batches, and each
        share knows the batch's totals, so that the mean of the shares' losses is the loss of the batch; the parity
        penalty alone is not made of parts, and is of what each share shows. Shares are of like length, since workers
        wait for the slowest.

        Args:
            batch_size: windows a step, over all workers.
            seed: of the order.
            epoch: of the order.
            rank: whose share.
            world_size: of how many workers.
            parts: a share comes in so many pieces, one after the other (gradient accumulation).
            first_step: steps that have been made already.
        """
        order = np.random.default_rng((seed, epoch)).permutation(len(self))
        shares = world_size * parts
        for start in range(first_step * batch_size, self.num_steps(batch_size) * batch_size, batch_size):
            rows = np.resize(order[start : start + batch_size], max(shares, len(order[start : start + batch_size])))
            kept = self.target[rows] != PADDING
            targets = kept.sum(axis=1)
            totals = Totals(
                float(targets.sum()) / shares,
                float(self.weight[rows][kept].sum()) / shares,
                tuple((np.bincount(c, targets) / targets.sum()).astype(np.float32) for c in self.attributes[rows].T),
            )
            share_of_row = self._share(rows, shares)
            for part in range(parts):
                yield replace(self._trimmed(rows[share_of_row == rank + part * world_size]), totals=totals)

    def _share(self, rows: IntMatrix, shares: int) -> IntMatrix:
        """Which share each row of a batch belongs to: the longest first, dealt there and back."""
        length = (self.history.item[rows] != PADDING).sum(axis=1)
        there, back = np.arange(shares), np.arange(shares)[::-1]
        dealt = np.resize(np.concatenate([there, back]), len(rows))
        found = np.empty(len(rows), np.int64)
        found[np.argsort(-length, kind="stable")] = dealt
        return found

    def num_steps(self, batch_size: int) -> int:
        """Steps in an epoch; the last batch may be short."""
        return -(-len(self) // batch_size)

    def _trimmed(self, rows: IntMatrix) -> "Windows":
        longest = max(1, int((self.history.item[rows] != PADDING).sum(axis=1).max()))
        longest += -longest % WIDTHS  # but never more than there is
        h = self.history.rows(rows)
        history = HistoryBatch(h.item[:, :longest], h.event[:, :longest], h.value[:, :longest], h.gap[:, :longest])
        targets = slice(None, longest + 1)
        return Windows(
            history,
            self.attributes[rows],
            self.target[rows, targets],
            self.weight[rows, targets],
            self.popular,
            self.user[rows],
            self.item_ids,
            self.outcomes.rows(rows, targets) if self.outcomes is not None else None,
        )


@dataclass(frozen=True)
class KnownOutcomes:
    """What the debias stage says of outcomes.

    Attributes:
        good: of each corpus interaction, shape (N,).
        users: imputed log odds are inner products of these, shape (U, K),
        items: and these, shape (I, K).
    """

    good: BoolVector
    users: FloatMatrix
    items: FloatMatrix


def build_windows(
    corpus: Corpus,
    codec: HistoryCodec,
    attributes: IntMatrix,
    weight: FloatVector,
    outcomes: KnownOutcomes | None = None,
) -> Windows:
    """Cut every user's training history into windows, newest first, so that only the oldest one is short.

    Args:
        corpus: interactions and users.
        codec: turns histories into arrays and fixes the window length.
        attributes: attribute codes by user, shape (U, A).
        weight: propensity weights aligned with `corpus.interactions`, shape (N,).
        outcomes: what is known of outcomes, if they are to be predicted.
    """
    train = corpus.interactions.split == TRAIN
    per_row = [weight[train]]
    if outcomes is not None:
        per_row.append(outcomes.good[train].astype(np.float32))
    histories = corpus.histories(TRAIN)
    read: list[History] = []
    owners: list[int] = []
    targets: list[np.ndarray] = []
    cut: list[list[np.ndarray]] = [[] for _ in per_row]
    begin = 0
    for user, history in enumerate(histories):
        own = [values[begin : begin + len(history)] for values in per_row]
        begin += len(history)
        for start, stop in _spans(len(history), codec.history_length):
            # a window that opens the history also trains the state before the first item
            first = start if start == 0 else start + 1
            read.append(_slice(history, start, stop - 1))
            owners.append(user)
            pad = first - start
            targets.append(np.concatenate([np.full(pad, PADDING), history.item[first:stop]]))
            for rows, values in zip(cut, own, strict=True):
                rows.append(np.concatenate([np.zeros(pad), values[first:stop]]))
    length = codec.history_length
    weights, *good = (_pad(rows, length + 1, 0).astype(np.float32) for rows in cut)
    return Windows(
        _pad_history(codec.encode(read), length),
        attributes[owners],
        _pad(targets, length + 1, PADDING).astype(np.int64),
        weights,
        popular_items(corpus.train_popularity(), POPULAR_SHARE),
        np.array(corpus.user_ids)[owners],
        corpus.item_ids,
        _outcomes(good[0], outcomes, owners, histories, corpus) if outcomes is not None else None,
    )


def _outcomes(
    good: FloatMatrix, known: KnownOutcomes, owners: list[int], histories: list[History], corpus: Corpus
) -> Outcomes:
    count = np.array([len(history) for history in histories])
    share = count.sum() / ((count > 0).sum() * np.maximum(count, 1))
    items = known.items[: corpus.num_warm_items]
    return Outcomes(good, share[owners].astype(np.float32), known.users[owners], items)


def _spans(count: int, length: int) -> list[tuple[int, int]]:
    """(start, stop) of windows that read up to `length` items and predict those after them."""
    spans = []
    stop = count
    while stop > 0:
        start = max(0, stop - 1 - length)
        spans.append((start, stop))
        stop = start + 1 if start > 0 else 0
    return spans


def _slice(history: History, start: int, stop: int) -> History:
    part = slice(start, max(start, stop))
    return History(history.item[part], history.timestamp[part], history.value[part], history.event[part])


def _pad(rows: list[np.ndarray], length: int, filler: int) -> np.ndarray:
    padded = np.full((len(rows), length), filler, np.float64)
    for row, values in enumerate(rows):
        padded[row, : len(values)] = values
    return padded


def _pad_history(batch: HistoryBatch, length: int) -> HistoryBatch:
    extra = ((0, 0), (0, length - batch.item.shape[1]))
    zeros = (np.pad(a, extra) for a in (batch.event, batch.value, batch.gap))
    return HistoryBatch(np.pad(batch.item, extra, constant_values=PADDING), *zeros)

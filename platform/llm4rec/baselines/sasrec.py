"""SASRec: with full softmax the baseline to beat, with binary cross entropy on sampled items, and as gSASRec."""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, Self

import numpy as np
import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from llm4rec.baselines.sasrec_loss import sampled_bce_loss, softmax_loss
from llm4rec.baselines.sasrec_network import SASRecNetwork
from llm4rec.baselines.validation import Validation
from llm4rec.config import StrictModel
from llm4rec.schema import TRAIN, VALID, Corpus, FloatMatrix, History, IntVector

SCORE_BATCH = 256
IGNORED = -100  # stands where a position has no target

Loss = Literal["softmax", "bce", "gbce"]
NAMES: dict[Loss, str] = {"softmax": "sasrec", "bce": "sasrec_bce", "gbce": "gsasrec"}


class SASRecConfig(StrictModel):
    """Settings of SASRec; the defaults were chosen on the validation split of ML-100K, with softmax."""

    loss: Loss = "softmax"
    """softmax over the whole catalogue; bce on the target and items drawn evenly; gbce, gSASRec's correction of it."""
    num_negatives: PositiveInt = 256
    """With bce and gbce: items drawn for each position. SASRec's authors draw 1, gSASRec's 256."""
    calibration: float = Field(default=0.75, ge=0, le=1)
    """With gbce: t, how much of the error that drawing makes is made good."""
    embedding_size: PositiveInt = 64
    """Width of the item embeddings and of every state."""
    num_blocks: PositiveInt = 2
    """Transformer blocks."""
    num_heads: PositiveInt = 1
    """Attention heads; must divide embedding_size."""
    dropout: float = Field(default=0.3, ge=0, lt=1)
    """Share of units dropped in training: embeddings, attention weights, block outputs."""
    history_length: PositiveInt = 30
    """Interactions the network sees at once; longer histories are trained in windows of this length."""
    epochs: PositiveInt = 40
    """Passes over the training interactions, at most."""
    batch_size: PositiveInt = 32
    """Windows a step."""
    learning_rate: PositiveFloat = 2e-3
    """Learning rate of AdamW at the start; it falls to 0 along a half cosine."""
    weight_decay: NonNegativeFloat = 0.0
    """Decoupled weight decay of AdamW."""
    validate_every: PositiveInt = 5
    """Epochs between two measurements of NDCG@10 on the validation split."""
    patience: PositiveInt | None = 4
    """Stop after this many measurements without a better one and keep the best weights; null runs all epochs."""
    seed: NonNegativeInt = 0
    """Seed of the weights, the windows and dropout."""

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.embedding_size % self.num_heads:
            raise ValueError(f"num_heads {self.num_heads} must divide embedding_size {self.embedding_size}")
        return self


class SASRec:
    """Self-attentive sequential recommendation (Kang and McAuley, ICDM 2018).

    Unlike the original's, the loss is by default softmax cross entropy over the whole catalogue at every position,
    which is worth more than any change of the network (Klenitskiy and Vasilev, Turning dross into gold loss, RecSys
    2023).
    """

    def __init__(self, config: SASRecConfig) -> None:
        self.config = config
        self.name = NAMES[config.loss]
        self._network: SASRecNetwork | None = None

    def fit(
        self, corpus: Corpus, splits: tuple[int, ...] = (TRAIN,), progress: Callable[[str], None] | None = None
    ) -> Self:
        """Train on the given splits; `progress` receives one line at each validation.

        With `patience` set and validation interactions that are not trained on, the weights with the best validation
        NDCG@10 are kept and training stops early.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            self._train(corpus, splits, progress or (lambda line: None))
        return self

    def score(self, users: IntVector, histories: Sequence[History]) -> FloatMatrix:
        """Scores of all warm items, shape (len(users), warm items)."""
        assert self._network is not None, "fit comes before score"
        scores = np.empty((len(histories), self._network.start), np.float32)
        self._network.eval()
        with torch.inference_mode():
            for first in range(0, len(histories), SCORE_BATCH):
                chunk = histories[first : first + SCORE_BATCH]
                scores[first : first + len(chunk)] = self._score_chunk(self._network, chunk)
        return scores

    def _score_chunk(self, network: SASRecNetwork, histories: Sequence[History]) -> FloatMatrix:
        recent = [history.item[-self.config.history_length :] for history in histories]
        tokens = _pad([_with_start(items, network.start) for items in recent], network.start)
        newest = torch.tensor([len(items) for items in recent])
        states = network(tokens)[torch.arange(len(recent)), newest]
        return network.logits(states).numpy()

    def _train(self, corpus: Corpus, splits: tuple[int, ...], say: Callable[[str], None]) -> None:
        config = self.config
        network = self._network = self._new_network(corpus.num_warm_items)
        optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=config.epochs)
        histories = [history.item for history in corpus.histories(*splits) if len(history)]
        validation = None if VALID in splits or config.patience is None else Validation.of(corpus, config.patience)
        rng = np.random.default_rng(config.seed)
        for epoch in range(1, config.epochs + 1):
            loss = self._train_epoch(network, optimizer, histories, rng)
            schedule.step()
            if epoch % config.validate_every and epoch < config.epochs:
                continue
            line = f"{self.name} epoch {epoch}/{config.epochs} loss {loss:.4f}"
            if validation is None:
                say(line)
                continue
            ndcg = validation.measure(self.score, network)
            say(f"{line} valid ndcg@10 {ndcg:.4f}")
            if validation.should_stop:
                break
        if validation is not None:
            validation.restore(network)

    def _new_network(self, num_items: int) -> SASRecNetwork:
        return SASRecNetwork(
            num_items,
            embedding_size=self.config.embedding_size,
            num_blocks=self.config.num_blocks,
            num_heads=self.config.num_heads,
            dropout=self.config.dropout,
            max_length=self.config.history_length + 1,
        )

    def _train_epoch(
        self,
        network: SASRecNetwork,
        optimizer: torch.optim.Optimizer,
        histories: Sequence[IntVector],
        rng: np.random.Generator,
    ) -> float:
        """One pass over freshly cut windows; the mean loss of its steps."""
        network.train()
        losses = []
        for tokens, targets in self._batches(histories, network.start, rng):
            wanted = targets != IGNORED
            loss = self._loss(network.logits(network(tokens)[wanted]), targets[wanted])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        return float(np.mean(losses))

    def _loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        if self.config.loss == "softmax":
            return softmax_loss(scores, targets)
        calibration = self.config.calibration if self.config.loss == "gbce" else 0.0
        return sampled_bce_loss(scores, targets, self.config.num_negatives, calibration)

    def _batches(
        self, histories: Sequence[IntVector], start: int, rng: np.random.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of (tokens, targets), both (B, L): each token's target is the item after it."""
        # One more than the network sees: the last item of a window is only a target.
        length = self.config.history_length + 1
        windows = [window for items in histories for window in cut_windows(items, length, rng)]
        order = rng.permutation(len(windows))
        for first in range(0, len(order), self.config.batch_size):
            chunk = [windows[i] for i in order[first : first + self.config.batch_size]]
            yield _pad([_with_start(items[:-1], start) for items in chunk], start), _pad(chunk, IGNORED)


def cut_windows(items: IntVector, length: int, rng: np.random.Generator) -> list[IntVector]:
    """Cut a history into windows of at most `length` items, at another random place each time."""
    first_cut = int(rng.integers(1, length + 1)) if len(items) > length else length
    return [window for window in np.split(items, range(first_cut, len(items), length)) if len(window)]


def _with_start(items: IntVector, start: int) -> IntVector:
    return np.concatenate([[start], items]).astype(np.int32)


def _pad(rows: Sequence[IntVector], fill: int) -> Tensor:
    """Rows of unequal length as one int64 tensor (B, L), filled up on the right."""
    padded = np.full((len(rows), max(len(row) for row in rows)), fill, np.int64)
    for target, row in zip(padded, rows, strict=True):
        target[: len(row)] = row
    return torch.from_numpy(padded)

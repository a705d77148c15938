"""What models of sequences share: windows of histories, training with early stopping, scoring.

Shapes: B histories, L positions, D embedding size, I items, N positions with a target.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from llm4rec.baselines.checkpoint import Checkpoint, Training
from llm4rec.baselines.config import WindowConfig
from llm4rec.baselines.validation import Validation
from llm4rec.device import best_device, number_type
from llm4rec.schema import TRAIN, VALID, Corpus, FloatMatrix, History, IntVector
from llm4rec.softmax import softmax_loss

SCORE_BATCH = 256
PADDING = -1
"""Stands in tokens where a history has ended."""
IGNORED = -100
"""Stands in targets where nothing is to be predicted."""


class SequenceNetwork(nn.Module):
    """Maps tokens to states and states to item scores. Token I is the model's own: a start, or a mask.

    Attributes:
        num_items: I, and the code of that token.
    """

    num_items: int

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, L), padded on the right with PADDING, to states (B, L, D)."""
        raise NotImplementedError

    def items(self) -> Tensor:
        """What states are multiplied by: an inner product with a row is the score of an item, shape (I, D)."""
        raise NotImplementedError

    def logits(self, states: Tensor) -> Tensor:
        """States (..., D) to scores (..., I) of all items."""
        return states @ self.items().T


class SequenceModel:
    """A network that reads a history and scores what comes next; subclasses say which.

    As they stand here the examples are those of a causal network: a start token and the items, each position to predict
    the item after it.
    """

    name: str
    validation_rows: int | None = None
    """At most so many choices are ranked at each measurement, evenly spread; None ranks all."""
    widths: int = 1
    """Batches of training are as wide as a multiple of this: a CPU compiles bfloat16 products for every new width."""

    def __init__(self, config: WindowConfig) -> None:
        self.config = config
        self._network: SequenceNetwork | None = None
        self._device, self._type = torch.device("cpu"), torch.float32

    def new_network(self, num_items: int) -> SequenceNetwork:
        """A network with fresh weights."""
        raise NotImplementedError

    def step_loss(self, network: SequenceNetwork, tokens: Tensor, targets: Tensor) -> Tensor:
        """The loss of a batch of tokens and targets, both (B, L): softmax over the whole catalogue."""
        wanted = targets != IGNORED
        items = network.items().to(self._type)
        return softmax_loss(network(tokens)[wanted], items, targets[wanted])

    def example(self, window: IntVector, num_items: int, rng: np.random.Generator) -> tuple[IntVector, IntVector]:
        """Tokens and targets of a window of at most `history_length` + 1 items, equally long."""
        return np.append(num_items, window[:-1]).astype(np.int32), window

    def question(self, items: IntVector, num_items: int) -> IntVector:
        """The tokens whose last state scores what comes after the items, of which it reads the newest."""
        return np.append(num_items, items[-self.config.history_length :]).astype(np.int32)

    def fit(
        self,
        corpus: Corpus,
        splits: tuple[int, ...] = (TRAIN,),
        progress: Callable[[str], None] | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> Self:
        """Train on the given splits; `progress` receives one line at each validation.

        With `patience` set and validation interactions that are not trained on, the weights with the best validation
        NDCG@10 are kept and training stops early. With a `checkpoint`, training goes on from what it holds, which must
        be of the same settings and corpus, and saves its state there at each measurement; a state of another network,
        device or kind of numbers is discarded.
        """
        self._device = best_device()  # here, since it may be made in one process and trained in another
        self._type = number_type(self.config.precision, self._device)
        with torch.random.fork_rng(devices=[self._device] if self._device.type == "cuda" else []):
            torch.manual_seed(self.config.seed)
            self._train(corpus, splits, progress or (lambda line: None), checkpoint)
        return self

    def score(self, users: IntVector, histories: Sequence[History]) -> FloatMatrix:
        """Scores of all warm items, shape (len(users), warm items)."""
        network = self._network
        assert network is not None, "fit comes before score"
        scores = np.empty((len(histories), network.num_items), np.float32)
        network.eval()
        with torch.inference_mode():
            for first in range(0, len(histories), SCORE_BATCH):
                rows = [self.question(h.item, network.num_items) for h in histories[first : first + SCORE_BATCH]]
                last = torch.tensor([len(row) - 1 for row in rows])
                states = network(padded(rows, PADDING).to(self._device))[torch.arange(len(rows)), last]
                scores[first : first + len(rows)] = network.logits(states).cpu().numpy()
        return scores

    def _train(
        self, corpus: Corpus, splits: tuple[int, ...], say: Callable[[str], None], checkpoint: Checkpoint | None
    ) -> None:
        config = self.config
        network = self._network = self.new_network(corpus.num_warm_items).to(self._device)
        optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=config.epochs)
        histories = [history.item for history in corpus.histories(*splits) if len(history)]
        validation = None
        if config.patience is not None and VALID not in splits:
            validation = Validation.of(corpus, config.patience, self.validation_rows)
        rng = np.random.default_rng(config.seed)
        training = Training(network, optimizer, schedule, rng, validation, self._device, self._type)
        if checkpoint is not None and (state := checkpoint.load()) is not None:
            if training.fits(state):
                training.restore(state)
                say(f"{self.name} goes on after epoch {training.epoch}/{config.epochs}")
            else:
                checkpoint.discard()
                say(f"{self.name} begins anew: what was kept is of another network, device or kind of numbers")
        while training.epoch < config.epochs and not (validation is not None and validation.should_stop):
            loss = self._train_epoch(network, optimizer, histories, rng)
            schedule.step()
            training.epoch += 1
            if training.epoch % config.validate_every and training.epoch < config.epochs:
                continue
            line = f"{self.name} epoch {training.epoch}/{config.epochs} loss {loss:.4f}"
            if validation is not None:
                line += f" valid ndcg@10 {validation.measure(self.score, network):.4f}"
            say(line)
            if checkpoint is not None:
                checkpoint.save(training.state())
        if validation is not None:
            validation.restore_best(network)

    def _train_epoch(
        self,
        network: SequenceNetwork,
        optimizer: torch.optim.Optimizer,
        histories: Sequence[IntVector],
        rng: np.random.Generator,
    ) -> float:
        """One pass over freshly cut windows; the mean loss of its steps."""
        network.train()
        losses = []
        for tokens, targets in self._batches(histories, network.num_items, rng):
            tokens, targets = tokens.to(self._device), targets.to(self._device)
            with torch.autocast(self._device.type, torch.bfloat16, enabled=self._type == torch.bfloat16):
                loss = self.step_loss(network, tokens, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())  # read at the end: a GPU is not waited for at every step
        return float(torch.stack(losses).mean())

    def _batches(
        self, histories: Sequence[IntVector], num_items: int, rng: np.random.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of (tokens, targets), both (B, L)."""
        # One more than the network sees: the last item of a window is only a target.
        length = self.config.history_length + 1
        windows = [window for items in histories for window in cut_windows(items, length, rng)]
        order = rng.permutation(len(windows))
        for first in range(0, len(order), self.config.batch_size):
            chunk = [windows[i] for i in order[first : first + self.config.batch_size]]
            tokens, targets = zip(*(self.example(window, num_items, rng) for window in chunk), strict=True)
            yield padded(tokens, PADDING, self.widths), padded(targets, IGNORED, self.widths)


def cut_windows(items: IntVector, length: int, rng: np.random.Generator) -> list[IntVector]:
    """Cut a history into windows of at most `length` items, at another random place each time."""
    first_cut = int(rng.integers(1, length + 1)) if len(items) > length else length
    return [window for window in np.split(items, range(first_cut, len(items), length)) if len(window)]


def padded(rows: Sequence[IntVector], fill: int, multiple: int = 1) -> Tensor:
    """Rows of unequal length as one int64 tensor (B, L), filled up on the right, with L such a multiple."""
    longest = max(len(row) for row in rows)
    full = np.full((len(rows), longest + -longest % multiple), fill, np.int64)
    for target, row in zip(full, rows, strict=True):
        target[: len(row)] = row
    return torch.from_numpy(full)

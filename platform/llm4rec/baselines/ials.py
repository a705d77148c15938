"""iALS: matrix factorisation of implicit feedback, as the `implicit` library fits it."""

from collections.abc import Sequence
from typing import Self

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares

from llm4rec.baselines.config import IALSConfig
from llm4rec.history_matrix import binary_matrix
from llm4rec.schema import TRAIN, Corpus, FloatMatrix, History, IntVector


class IALS:
    """Scores are p_u . q_i, with p and q minimising sum_ui c_ui (x_ui - p_u . q_i)^2 + reg (||P||^2 + ||Q||^2).

    x is 1 and c alpha where a user had an item; x is 0 and c 1 elsewhere (Hu, Koren and Volinsky, Collaborative
    filtering for implicit feedback datasets, ICDM 2008, whose c is 1 + alpha where ours is alpha). A user's vector is
    solved for from the history that is asked about, so that users unknown in training are served too.
    """

    name = "ials"

    def __init__(self, config: IALSConfig) -> None:
        self.config = config
        self._model: AlternatingLeastSquares | None = None

    def fit(self, corpus: Corpus, splits: tuple[int, ...] = (TRAIN,)) -> Self:
        """Solve for the vectors of all warm items, shape (warm items, factors)."""
        config = self.config
        self._model = AlternatingLeastSquares(
            factors=config.factors,
            regularization=config.reg,
            alpha=config.alpha,
            iterations=config.iterations,
            num_threads=1,  # a baseline is a task of one CPU
            random_state=config.seed,
        )
        histories = [history for history in corpus.histories(*splits) if len(history)]
        self._model.fit(binary_matrix(histories, corpus.num_warm_items), show_progress=False)
        return self

    def score(self, users: IntVector, histories: Sequence[History]) -> FloatMatrix:
        """Scores of all warm items, shape (len(users), warm items)."""
        assert self._model is not None, "fit comes before score"
        items = np.asarray(self._model.item_factors)
        if not len(users):
            return np.empty((0, len(items)), np.float32)
        vectors = self._model.recalculate_user(np.arange(len(users)), binary_matrix(histories, len(items)))
        return np.asarray(vectors @ items.T, np.float32)

"""What every baseline owes its caller: one suite, inherited by a class for each."""

import numpy as np
import pytest
from loops import LOOP, NUM_USERS, NUM_WARM, loops_corpus

from llm4rec.baselines.bert4rec import BERT4Rec
from llm4rec.baselines.config import (
    BERT4RecConfig,
    EASEConfig,
    GenRecConfig,
    HSTUConfig,
    IALSConfig,
    ItemKNNConfig,
    PopularConfig,
    SASRecConfig,
    TIGERConfig,
)
from llm4rec.baselines.ease import EASE
from llm4rec.baselines.genrec import GenRec
from llm4rec.baselines.hstu import HSTU
from llm4rec.baselines.ials import IALS
from llm4rec.baselines.item_knn import ItemKNN
from llm4rec.baselines.popular import Popular
from llm4rec.baselines.sasrec import SASRec
from llm4rec.baselines.tiger import TIGER
from llm4rec.schema import EMPTY_HISTORY, TEST, TRAIN, VALID, Corpus
from tests.corpora import tiny_writer


@pytest.fixture(scope="class")
def corpus() -> Corpus:
    return loops_corpus()


class BaselineContract:
    """Subclasses say how to make the baseline."""

    @staticmethod
    def make():
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def fitted(cls, corpus):
        return cls.make().fit(corpus)

    def test_scores_every_warm_item_with_a_finite_number(self, corpus, fitted):
        users = np.arange(7, dtype=np.int32)
        scores = fitted.score(users, corpus.histories(TRAIN)[:7])
        assert scores.shape == (7, NUM_WARM)
        assert scores.dtype == np.float32
        assert np.isfinite(scores).all()

    def test_same_seed_same_scores(self, corpus, fitted):
        users = np.arange(NUM_USERS, dtype=np.int32)
        histories = corpus.histories(TRAIN)
        np.testing.assert_array_equal(self.make().fit(corpus).score(users, histories), fitted.score(users, histories))

    def test_interactions_outside_the_given_splits_change_nothing(self, corpus, fitted):
        altered = loops_corpus(test_items="scrambled")
        assert (altered.part(TEST).item != corpus.part(TEST).item).any()
        users, histories = np.arange(NUM_USERS, dtype=np.int32), corpus.histories(TRAIN)
        np.testing.assert_array_equal(self.make().fit(altered).score(users, histories), fitted.score(users, histories))

    def test_more_splits_change_the_scores(self, corpus, fitted):
        users, histories = np.arange(NUM_USERS, dtype=np.int32), corpus.histories(TRAIN)
        more = self.make().fit(corpus, (TRAIN, VALID)).score(users, histories)
        assert not np.array_equal(more, fitted.score(users, histories))

    def test_empty_history_scores_too(self, corpus, fitted):
        users = np.array([0, 1], np.int32)
        scores = fitted.score(users, [EMPTY_HISTORY, corpus.histories(TRAIN)[1]])
        assert np.isfinite(scores).all()
        np.testing.assert_allclose(scores[1], fitted.score(users[1:], [corpus.histories(TRAIN)[1]])[0], rtol=1e-4)

    def test_no_users_no_scores(self, fitted):
        assert fitted.score(np.empty(0, np.int32), []).shape == (0, NUM_WARM)

    def test_better_than_random(self, corpus, fitted):
        target = corpus.part(TEST)
        scores = fitted.score(target.user, corpus.histories(TRAIN, VALID))
        # ties count against the model, and so would equal scores for all
        hits = (scores >= scores[np.arange(NUM_USERS), target.item][:, None]).sum(axis=1) <= LOOP
        assert hits.mean() > 2 * LOOP / NUM_WARM


class TestPopular(BaselineContract):
    @staticmethod
    def make():
        return Popular(PopularConfig())


class TestItemKNN(BaselineContract):
    @staticmethod
    def make():
        return ItemKNN(ItemKNNConfig(last=None))


class TestItemKNNLast(BaselineContract):
    @staticmethod
    def make():
        return ItemKNN(ItemKNNConfig(last=3, num_neighbors=4, shrink=0))


class TestEASE(BaselineContract):
    @staticmethod
    def make():
        return EASE(EASEConfig(reg=5))


class TestEASEDecayed(BaselineContract):
    @staticmethod
    def make():
        return EASE(EASEConfig(reg=5, decay=0.7))


class TestIALS(BaselineContract):
    @staticmethod
    def make():
        return IALS(IALSConfig(factors=8, reg=0.1, alpha=5))


SMALL = {
    "embedding_size": 16,
    "num_blocks": 1,
    "num_heads": 2,
    "dropout": 0.1,
    "history_length": 5,
    "patience": None,
    "batch_size": 16,
    "learning_rate": 0.01,
}


class SequenceContract(BaselineContract):
    def test_learns_the_order(self, corpus, fitted):
        """Neighbour models cannot know which item of the loop comes next; a sequence model must."""
        target = corpus.part(TEST)
        best = fitted.score(target.user, corpus.histories(TRAIN, VALID)).argmax(axis=1)
        assert (best == target.item).mean() > 0.9


class TestSASRec(SequenceContract):
    @staticmethod
    def make():
        return SASRec(SASRecConfig(**SMALL, epochs=25))


class TestSASRecBCE(SequenceContract):
    @staticmethod
    def make():
        return SASRec(SASRecConfig(**SMALL, epochs=80, loss="bce", num_negatives=4))


class TestGSASRec(SequenceContract):
    @staticmethod
    def make():
        return SASRec(SASRecConfig(**SMALL, epochs=80, loss="gbce", num_negatives=4))


class TestBERT4Rec(SequenceContract):
    @staticmethod
    def make():
        return BERT4Rec(BERT4RecConfig(**SMALL, epochs=200, mask_share=0.3, last_share=0.5))


class TestHSTU(SequenceContract):
    @staticmethod
    def make():
        return HSTU(HSTUConfig(**SMALL, epochs=25, temperature=0.2))


class TestTIGER(SequenceContract):
    @staticmethod
    def make():
        vectors = np.random.default_rng(0).normal(size=(NUM_WARM, 6)).astype(np.float32)
        # Five items to train on: a sixth place would never have been trained.
        settings = {**SMALL, "history_length": 4}
        return TIGER(TIGERConfig(**settings, epochs=80, levels=2, codebook_size=4), vectors)


class TestGenRec(SequenceContract):
    backbone: str

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def tiny_backbone(cls, tmp_path_factory):
        cls.backbone = tiny_writer(tmp_path_factory.mktemp("backbone"))

    @classmethod
    def make(cls):
        sizes = {"num_layers": 1, "beam_size": NUM_WARM, "history_length": 4}
        learning = {"patience": None, "batch_size": 16, "learning_rate": 0.01, "epochs": 120}
        return GenRec(GenRecConfig(backbone=cls.backbone, **sizes, **learning))

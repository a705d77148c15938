"""The trie of titles, and the scores that writing them one word at a time gives."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from loops import loops_corpus

from llm4rec.baselines.config import GenRecConfig
from llm4rec.baselines.genrec import NOT_WRITTEN, GenRec, TitleNetwork
from llm4rec.baselines.titles import END, Titles, Trie, tokenized
from llm4rec.errors import ConfigError
from llm4rec.language_model import load_tokenizer
from llm4rec.schema import TRAIN
from tests.corpora import tiny_writer

TITLES = ["alien", "aliens", "heat", "heat", "her", "up", "a", ""]
HISTORIES = [np.array(items, np.int32) for items in ([2, 0, 5], [], [1, 2, 3, 4, 6, 2], [7], [4, 4])]
NONE = np.empty(0, np.int32)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory) -> str:
    return tiny_writer(tmp_path_factory.mktemp("backbone"), spread=0.2)


@pytest.fixture(scope="module")
def titles(backbone) -> Titles:
    return tokenized(TITLES, load_tokenizer(backbone, "backbone"))


@pytest.fixture(scope="module")
def network(backbone, titles) -> TitleNetwork:
    model = GenRec(GenRecConfig(backbone=backbone, num_layers=2))
    model._titles = titles
    return model.new_network(len(TITLES)).eval()


def test_words_are_those_of_the_titles_and_read_back(backbone, titles):
    tokenizer = load_tokenizer(backbone, "backbone")
    assert len(titles.words) == 1 + len(set("".join(TITLES)))
    assert [tokenizer.decode(titles.words[title[:-1]]).replace(" ", "") for title in titles.of_item] == TITLES
    assert all(title[-1] == END for title in titles.of_item)


@given(st.lists(st.lists(st.integers(1, 3), max_size=4), min_size=1, max_size=12))
def test_the_trie_leads_to_every_title_and_to_nothing_else(written):
    series = [np.array([*words, END], np.int32) for words in written]
    trie = Trie(series)
    read = {}
    waiting = [(0, [])]
    while waiting:
        node, words = waiting.pop()
        if node in trie.items:
            read[tuple(words)] = trie.items[node]
        waiting += [
            (int(child), [*words, int(word)]) for word, child in zip(trie.words[node], trie.nodes[node], strict=True)
        ]
    assert read == {
        tuple(title): [item for item, other in enumerate(written) if other == title[:-1]]
        for title in ([*words, END] for words in written)
    }


def scores(network: TitleNetwork, titles: Titles, beam_size: int, seen: list[np.ndarray] | None = None) -> np.ndarray:
    """What titles come to after each of HISTORIES, all in one batch."""
    with torch.inference_mode():
        texts = [titles[history] for history in HISTORIES]
        return network.item_scores(texts, beam_size, seen or [NONE] * len(HISTORIES))


def forced(network: TitleNetwork, titles: Titles, history: np.ndarray, item: int) -> float:
    """The log probability of a title after a history when it is read at once."""
    title = titles.of_item[item]
    words = torch.from_numpy(np.concatenate([titles[history], title]))[None]
    log_p = network.logits(network(words[:, :-1]))[0, -len(title) :].log_softmax(dim=-1)
    return float(log_p[torch.arange(len(title)), torch.from_numpy(title).long()].sum())


def test_scores_are_the_probabilities_of_titles_read_at_once(network, titles):
    with torch.inference_mode():
        expected = [[forced(network, titles, history, item) for item in range(len(TITLES))] for history in HISTORIES]
    every = scores(network, titles, len(TITLES))
    np.testing.assert_allclose(every, expected, rtol=1e-4, atol=1e-4)
    assert (every[:, 2] == every[:, 3]).all(), "equal titles tie"


@pytest.mark.parametrize("beam_size", [1, 2, 4])
def test_a_narrow_beam_gives_what_it_writes_the_same_score(network, titles, beam_size):
    every, some = scores(network, titles, len(TITLES)), scores(network, titles, beam_size)
    written = some != NOT_WRITTEN
    assert (written.sum(axis=1) >= beam_size).all()
    assert not written.all()
    np.testing.assert_allclose(some[written], every[written], rtol=1e-4)


@pytest.mark.parametrize("beam_size", [1, 3])
def test_what_is_written_after_a_text_does_not_depend_on_the_others(network, titles, beam_size):
    everything = np.arange(len(TITLES), dtype=np.int32)
    seen = [everything if user % 2 else NONE for user in range(len(HISTORIES))]  # for these the beam goes on and on
    together = scores(network, titles, beam_size, seen)
    with torch.inference_mode():
        alone = [
            network.item_scores([titles[history]], beam_size, [items])[0]
            for history, items in zip(HISTORIES, seen, strict=True)
        ]
    np.testing.assert_allclose(together, alone, rtol=1e-4)


def test_items_seen_take_no_place_from_others(network, titles):
    first = scores(network, titles, 1).argmax(axis=1).astype(np.int32)
    seen = [np.array([item]) for item in first]
    written = scores(network, titles, 1, seen) != NOT_WRITTEN
    assert all(len(np.setdiff1d(np.flatnonzero(own), items)) >= 1 for own, items in zip(written, seen, strict=True))


def test_the_windows_titles_are_all_to_be_written(backbone):
    model = GenRec(GenRecConfig(backbone=backbone, num_layers=1, epochs=1)).fit(loops_corpus())
    words, targets = model.example(np.array([3, 1], np.int32), 24, np.random.default_rng(0))
    letters = [load_tokenizer(backbone, "backbone").decode(model.titles.words[codes]) for codes in (words, targets)]
    assert ["".join(text.split()) for text in letters] == ["</s>i3</s>i1", "i3</s>i1</s>"]


def test_too_many_layers_and_missing_models_are_said(backbone):
    corpus = loops_corpus()
    with pytest.raises(ConfigError, match="baselines.genrec.num_layers: the backbone has 2 layers, 3 were asked for"):
        GenRec(GenRecConfig(backbone=backbone, num_layers=3)).fit(corpus, (TRAIN,))
    with pytest.raises(ConfigError, match="baselines.genrec.backbone '/no/such/folder' cannot be loaded"):
        GenRec(GenRecConfig(backbone="/no/such/folder")).fit(corpus, (TRAIN,))

"""Titles as series of tokens, and the trie of them that decoding walks.

Shapes: I items, N nodes, V words.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

from llm4rec.schema import IntVector, LongVector

END = 0
"""The word that stands before the first title and after each."""


@dataclass(frozen=True)
class Titles:
    """The titles of a catalogue in a vocabulary that holds no other words.

    Attributes:
        words: the tokenizer's ids of the vocabulary, shape (V,); that of END comes first.
        of_item: each item's title in words, END last.
    """

    words: IntVector
    of_item: Sequence[IntVector]

    def __getitem__(self, items: IntVector) -> IntVector:
        """END and the titles of some items, one after the other."""
        return np.concatenate([np.array([END], np.int32), *(self.of_item[item] for item in items)])


def tokenized(titles: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> Titles:
    """Titles as the tokenizer cuts them, each by itself; its end-of-text token is END."""
    ids = [tokenizer.encode(title, add_special_tokens=False) for title in titles]
    end = tokenizer.eos_token_id
    others = sorted({token for title in ids for token in title} - {end})
    code = {token: place for place, token in enumerate([end, *others])}
    of_item = [np.array([*(code[token] for token in title if token != end), END], np.int32) for title in ids]
    return Titles(np.array(list(code), np.int32), of_item)


class Trie:
    """What may follow what has been written. Node 0 is the root; a title has been written where END has.

    Attributes:
        words: of each node, the words that may follow, ascending.
        nodes: of each node, the nodes that these lead to.
        items: of nodes at which a title ends, the items that have it.
        ends: whether a title ends at a node, shape (N,).
    """

    def __init__(self, titles: Sequence[IntVector]) -> None:
        children: list[dict[int, int]] = [{}]
        self.items: dict[int, list[int]] = {}
        for item, title in enumerate(titles):
            node = 0
            for word in title.tolist():
                if word not in children[node]:
                    children[node][word] = len(children)
                    children.append({})
                node = children[node][word]
            self.items.setdefault(node, []).append(item)
        self.words = [np.array(sorted(below), np.int64) for below in children]
        self.nodes = [np.array([below[word] for word in sorted(below)], np.int64) for below in children]
        self.ends = np.array([node in self.items for node in range(len(children))])

    def onward(self, nodes: LongVector) -> tuple[LongVector, LongVector, LongVector]:
        """Every step down from some nodes: from which of them, the word, and the node that it leads to."""
        words, after = [self.words[node] for node in nodes], [self.nodes[node] for node in nodes]
        return (
            np.repeat(np.arange(len(nodes)), [len(own) for own in words]),
            np.concatenate(words),
            np.concatenate(after),
        )

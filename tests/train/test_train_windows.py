"""Windows: every training target once, with its own weight, and the same batches for any number of workers."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm4rec.model.inputs import PADDING, HistoryCodec
from llm4rec.schema import TEST, TRAIN, Corpus, Interactions
from llm4rec.train.windows import Windows, build_windows


def build(lengths: list[int], history_length: int, test_items: int = 1) -> tuple[Corpus, Windows]:
    """Users with `lengths` training interactions each; every interaction has its own item and its own weight."""
    counts = [length + test_items for length in lengths]
    size = sum(counts)
    split = np.concatenate([np.repeat([TRAIN, TEST], [n, test_items]) for n in lengths]).astype(np.int32)
    log = Interactions(
        user=np.repeat(np.arange(len(lengths)), counts).astype(np.int32),
        item=np.arange(size, dtype=np.int32),
        timestamp=np.arange(size, dtype=np.int64),
        value=np.ones(size, np.float32),
        event=np.zeros(size, np.int32),
        split=split,
    )
    items = pa.table({"item_id": [f"i{n}" for n in range(size)]})
    users = pa.table({"user_id": [f"u{n}" for n in range(len(lengths))]})
    corpus = Corpus(log, items, users, ("view",), size)
    attributes = np.arange(len(lengths))[:, None]
    weight = np.where(split == TRAIN, 0.5 + np.arange(size), 0).astype(np.float32)
    return corpus, build_windows(corpus, HistoryCodec(1, [], history_length), attributes, weight)


def test_windows_by_hand() -> None:
    # User 0 has items 0..5 (6 is his test item), user 1 has item 7.
    _, windows = build([6, 1], history_length=2)
    assert windows.history.item.tolist() == [[3, 4], [1, 2], [0, PADDING], [PADDING, PADDING]]
    assert windows.target.tolist() == [[PADDING, 4, 5], [PADDING, 2, 3], [0, 1, PADDING], [7, PADDING, PADDING]]
    assert windows.weight.tolist() == [[0, 4.5, 5.5], [0, 2.5, 3.5], [0.5, 1.5, 0], [7.5, 0, 0]]
    assert windows.attributes.tolist() == [[0], [0], [0], [1]]


lengths_of_users = st.lists(st.integers(0, 17), min_size=1, max_size=6).filter(any)


@settings(max_examples=80, deadline=None)
@given(lengths_of_users, st.integers(1, 9), st.integers(0, 2))
def test_every_training_target_once_with_its_weight_after_what_came_before(
    lengths: list[int], history_length: int, test_items: int
) -> None:
    corpus, windows = build(lengths, history_length, test_items)
    kept = windows.target != PADDING
    train = np.flatnonzero(corpus.interactions.split == TRAIN)
    assert sorted(windows.target[kept].tolist()) == train.tolist()
    np.testing.assert_array_equal(windows.weight[kept], 0.5 + windows.target[kept])
    assert not windows.weight[~kept].any()
    owners = np.broadcast_to(windows.attributes, windows.target.shape)
    np.testing.assert_array_equal(owners[kept], corpus.interactions.user[windows.target[kept]])
    for row, position in zip(*np.nonzero(kept), strict=True):
        read, target = windows.history.item[row, :position], windows.target[row, position]
        assert read.tolist() == list(range(target - position, target))  # the items right before it, none missing
        first = np.flatnonzero(corpus.interactions.user == corpus.interactions.user[target])[0]
        assert position > 0 or target == first  # only a user's first item is predicted from nothing


def test_a_user_without_training_interactions_has_no_window() -> None:
    _, windows = build([0, 2, 0], history_length=4)
    assert windows.attributes.tolist() == [[1]]


def targets(batch: Windows) -> list[int]:
    return sorted(batch.target[batch.target != PADDING].tolist())


@settings(max_examples=40, deadline=None)
@given(lengths_of_users, st.integers(1, 5), st.integers(1, 7), st.integers(1, 4))
def test_the_ranks_together_see_the_batches_of_one_worker(
    lengths: list[int], history_length: int, batch_size: int, world_size: int
) -> None:
    _, windows = build(lengths, history_length)
    single = list(windows.batches(batch_size, seed=1, epoch=2))
    assert len(single) == windows.num_steps(batch_size)
    ranks = [
        list(windows.batches(batch_size, seed=1, epoch=2, rank=r, world_size=world_size)) for r in range(world_size)
    ]
    assert {len(batches) for batches in ranks} == {len(single)}
    for step, whole in enumerate(single):
        shares = [batches[step] for batches in ranks]
        assert all(len(share) for share in shares)
        seen = sorted(target for share in shares for target in targets(share))
        if len(whole) >= world_size:
            assert seen == targets(whole)
        else:  # a batch with fewer windows than workers repeats some, so that none stands idle
            assert set(seen) == set(targets(whole))
    assert sorted(t for batch in single for t in targets(batch)) == targets(windows)


def test_workers_get_shares_of_like_length() -> None:
    _, windows = build([2, 3, 4, 5, 6, 7, 8, 9], history_length=8)
    for world_size, largest in ((2, 22), (4, 11)):
        shares = [next(windows.batches(8, seed=0, epoch=0, rank=r, world_size=world_size)) for r in range(world_size)]
        assert [len(targets(share)) for share in shares] == [largest] * world_size
    parts = windows.batches(8, seed=0, epoch=0, parts=4)
    assert [len(targets(part)) for part in parts] == [11] * 4


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    _, windows = build([3] * 12, history_length=4)

    def order(seed: int, epoch: int) -> list[list[int]]:
        return [targets(batch) for batch in windows.batches(4, seed=seed, epoch=epoch)]

    assert order(0, 0) == order(0, 0)
    assert len({str(order(s, e)) for s, e in ((0, 0), (0, 1), (1, 0), (1, 1))}) == 4


def test_a_batch_is_as_wide_as_its_longest_history_or_the_next_multiple() -> None:
    _, windows = build([2, 9, 10, 19], history_length=18)
    assert windows.history.item.shape == (4, 18)
    widths = {len(targets(batch)): batch for batch in windows.batches(1, seed=0, epoch=0)}
    for length, width in ((2, 8), (9, 8), (10, 16), (19, 18)):  # of 1, 8, 9 and 18 items; there are no more than 18
        assert widths[length].history.item.shape == (1, width) and widths[length].target.shape == (1, width + 1)
    for batch in widths.values():
        assert batch.history.gap.shape == batch.history.item.shape and batch.weight.shape == batch.target.shape


@pytest.mark.parametrize(("batch_size", "steps"), [(1, 3), (2, 2), (3, 1), (50, 1)])
def test_steps_in_an_epoch(batch_size: int, steps: int) -> None:
    _, windows = build([2, 2, 2], history_length=8)
    assert windows.num_steps(batch_size) == steps

"""The heaviest rows, of all and of each group."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from llm4rec.heaviest import heaviest, heaviest_of_each


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), max_size=20), st.integers(1, 4))
def test_as_sorting_each_group_finds_them(rows, count):
    by_group = {one: [place for place, (group, _) in enumerate(rows) if group == one] for one in range(4)}
    expected = [
        place for places in by_group.values() for place in sorted(places, key=lambda place: -rows[place][1])[:count]
    ]
    group, weight = (np.array([row[column] for row in rows], np.int64) for column in (0, 1))
    assert heaviest_of_each(group, weight, count).tolist() == expected


@given(st.lists(st.integers(0, 9), max_size=20), st.integers(1, 25))
def test_as_sorting_all_finds_them(weights, count):
    expected = sorted(range(len(weights)), key=lambda place: -weights[place])[:count]
    assert heaviest(np.array(weights, np.float32), count).tolist() == expected

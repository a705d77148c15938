"""Statistics by hand, the same however the corpus was cut, and the page that shows them."""

import json
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm4rec.errors import ConfigError
from llm4rec.preprocess.report import corpus_report
from llm4rec.preprocess.statistics import LENGTH_EDGES, PartStatistics
from llm4rec.preprocess.summary import CorpusStatistics, summarise

NUMBERS = pa.struct([("year", pa.float64()), ("price", pa.float64())])
ITEMS = pa.table(
    {
        "item_id": ["a", "b", "c", "d"],
        "title": ["Alien", "b", "Casablanca", None],
        "text": ["long", "", None, "x"],
        "categories": pa.array([["Horror"], [], None, ["Drama", "War"]], pa.list_(pa.string())),
        "numbers": pa.array([{"year": 1979.0, "price": None}, {"year": None, "price": None}, None, None], NUMBERS),
        "image": pa.nulls(4, pa.string()),
        "audio": pa.array([b"RIFF", None, b"", None], pa.binary()),
        "warm": [True, True, True, False],
    }
)


def interactions(
    lengths: list[int], times: list[int] | None, values: list[float], events: list[str] | None = None
) -> PartStatistics:
    return PartStatistics.of_interactions(
        np.array(lengths, np.int32),
        None if times is None else np.array(times, np.int64),
        np.array(values, np.float32),
        pa.chunked_array([pa.array(events or ["view"] * len(values), pa.string())]),
    )


def quarantine(*rows: tuple[str, str]) -> PartStatistics:
    sources, reasons = zip(*rows, strict=True)
    return PartStatistics.of_quarantine(pa.table({"source": list(sources), "reason": list(reasons)}))


def test_interactions_by_hand() -> None:
    # 31 January 1970 23:59:59, 1 February 1970 0:00, 1 August 2001 0:00 (UTC)
    part = interactions(
        [1, 4, 2], [2678399, 2678400, 996624000] + [0] * 4, [3.5] * 5 + [0.0, -2.0], ["b", "a"] + ["b"] * 5
    )
    assert (part.interactions, part.users, part.longest) == (7, 3, 4)
    assert part.months == {"1970-01": 5, "1970-02": 1, "2001-08": 1}
    assert part.values == {"-2.0": 1, "0.0": 1, "3.5": 5}
    assert part.events == {"a": 1, "b": 6}
    assert LENGTH_EDGES[:8] == (1, 2, 3, 5, 7, 10, 15, 22)
    assert part.lengths[:4] == (1, 1, 1, 0)  # lengths 1, 2, and 4 in the bin from 3 to below 5


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.1, "0.1"),
        (4.25, "4.25"),
        (100, "100.0"),
        (1234, "1230.0"),
        (9996, "10000.0"),
        (-0.01239, "-0.0124"),
        (3e38, "3e+38"),
    ],
)
def test_values_keep_three_digits(value: float, shown: str) -> None:
    assert interactions([1], None, [value]).values == {shown: 1}


def test_coverage_by_hand() -> None:
    part = PartStatistics.of_items(ITEMS)
    assert part.items == 4
    assert part.coverage == {"title": 2, "text": 2, "categories": 2, "numbers": 1, "image": 0, "audio": 1}
    bare = ITEMS.select(["item_id", "title"]).append_column("numbers", pa.nulls(4))
    assert PartStatistics.of_items(bare).coverage == {"title": 2, "numbers": 0}


def test_reasons_are_counted_by_kind() -> None:
    part = quarantine(
        ("ratings.csv", "value is not a finite number: 'abc'"),
        ("ratings.csv", "value is not a finite number: '7 of 9'"),
        ("ratings.csv", "value is not a finite number: 'cut short, and so without its end..."),
        ("ratings.csv", """value is not a finite number: "it's\""""),
        ("ratings.csv", "expected 4 columns, found 13: '1,2'"),
        ("ratings.csv", "expected 4 columns, found 2: 'x'"),
        ("movies.csv", "item_id 'm1' was already in row 12"),
        ("movies.csv", "the file's own words stay"),
    )
    assert part.quarantine == {
        "movies.csv": {"item_id … was already in row N": 1, "the file's own words stay": 1},
        "ratings.csv": {"expected N columns, found N: …": 2, "value is not a finite number: …": 4},
    }


@st.composite
def users(draw: st.DrawFn) -> list[tuple[list[int], list[float], list[str]]]:
    """Times, values and events of each user."""
    event = st.tuples(st.integers(-(10**9), 2 * 10**9), st.floats(-1e6, 1e6, width=32), st.sampled_from("abc"))
    histories = draw(st.lists(st.lists(event, min_size=1, max_size=6), max_size=8))
    return [tuple(map(list, zip(*history, strict=True))) for history in histories]  # type: ignore[misc]


def measured(part: list[tuple[list[int], list[float], list[str]]]) -> PartStatistics:
    times, values, events = ([entry for user in part for entry in user[place]] for place in range(3))
    return interactions([len(user[0]) for user in part], times, values, events) if part else PartStatistics()


@settings(max_examples=60, deadline=None)
@given(users(), st.data())
def test_any_cut_between_users_gives_the_same_sum(
    corpus: list[tuple[list[int], list[float], list[str]]], data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(corpus)), max_size=3)))
    parts = [measured(corpus[a:b]) for a, b in zip([0, *cuts], [*cuts, len(corpus)], strict=True)]
    assert sum(data.draw(st.permutations(parts)), PartStatistics()) == measured(corpus)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 4), st.integers(0, 4))
def test_any_cut_of_items_and_refused_rows_gives_the_same_sum(one: int, other: int) -> None:
    a, b = sorted((one, other))
    parts = [PartStatistics.of_items(ITEMS.slice(start, stop - start)) for start, stop in ((0, a), (a, b), (b, 4))]
    assert sum(parts, PartStatistics()) == PartStatistics.of_items(ITEMS)
    rows = [("f", "bad: 'x'"), ("g", "bad: 'y'"), ("f", "worse 3"), ("f", "worse 4")]
    bad = [quarantine(*rows[start:stop]) for start, stop in ((0, a), (a, b), (b, 4)) if stop > start]
    assert sum(bad, PartStatistics()) == quarantine(*rows)


def test_parts_are_plain_values() -> None:
    part = interactions([1, 2], [0, 1, 2], [1, 2, 3]) + quarantine(("f", "bad"))
    assert PartStatistics.model_validate(json.loads(json.dumps(part.model_dump()))) == part


def test_the_long_tail_by_hand() -> None:
    summary = summarise(interactions([10], None, [1.0] * 10), np.array([1, 0, 6, 3], np.int32))
    assert summary.warm_items == 3
    assert [(p.rank, p.interactions, p.share) for p in summary.long_tail] == [(1, 6, 0.6), (2, 3, 0.9), (3, 1, 1.0)]
    assert summary.gini == pytest.approx((-2 * 1 + 0 * 3 + 2 * 6) / (3 * 10))
    assert (summary.mean_history, summary.longest_history, summary.time) == (10, 10, ())
    assert [(b.low, b.high, b.count) for b in summary.history_lengths] == [(10, 14, 1)]


def test_the_tail_of_a_large_catalogue_stays_small() -> None:
    counts = np.arange(1, 100_001)
    tail = summarise(PartStatistics(), counts).long_tail
    assert len(tail) <= 200 and (tail[0].rank, tail[-1].rank, tail[-1].share) == (1, 100_000, 1.0)
    assert all(point.interactions == 100_001 - point.rank for point in tail)


@pytest.mark.parametrize(
    ("years", "starts"), [(20, ["1980-01", "1999-12"]), (21, ["1980", "2000"]), (241, ["1980", "2220"])]
)
def test_many_months_become_years_and_many_years_tens(years: int, starts: list[str]) -> None:
    months = np.arange(np.datetime64("1980-01"), np.datetime64("1980-01") + 12 * years)
    seconds = months.astype("datetime64[s]").astype(np.int64).tolist()
    time = summarise(interactions([len(seconds)], seconds, [1.0] * len(seconds)), np.array([1])).time
    assert [time[0].start, time[-1].start] == starts and sum(p.interactions for p in time) == 12 * years
    assert len(time) == {20: 240, 21: 21, 241: 25}[years]


def test_few_values_have_a_bar_each_and_many_share_bins() -> None:
    few = summarise(interactions([4], None, [1, 5, 5, 2.5]), np.array([4])).values
    assert [(b.low, b.high, b.count) for b in few] == [(1, 1, 1), (2.5, 2.5, 1), (5, 5, 2)]
    for values in ([float(n) for n in range(1, 101)], [1.1**n for n in range(100)], [n - 50.0 for n in range(101)]):
        bins = summarise(interactions([len(values)], None, values), np.array([1])).values
        assert len(bins) == 30 and sum(b.count for b in bins) == len(values)
        assert bins[0].low == pytest.approx(values[0], rel=1e-2) and bins[-1].high == pytest.approx(
            values[-1], rel=1e-2
        )
        assert all(a.high == b.low for a, b in zip(bins[:-1], bins[1:], strict=True))


def test_rare_events_and_reasons_share_a_row() -> None:
    # without digits, which would all be one kind of reason
    names = [f"{a}{b}" for a in "abcdefgh" for b in "abcdefgh"]
    total = interactions([64], None, [1.0] * 64, names) + quarantine(*(("f", name) for name in names))
    summary = summarise(total, np.array([64]))
    assert len(summary.events) == 21 and summary.events["others"] == 44
    assert len(summary.quarantine) == 51 and summary.quarantine[0].rows == 14 and summary.quarantined == 64


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.add(tag)


def full() -> CorpusStatistics:
    part = interactions([3, 4], [0, 10**9, 10**9 + 1] + [10**9] * 4, [1, 2, 3, 4, 5, 5, 5], ["<b>view</b>"] * 7)
    part += PartStatistics.of_items(ITEMS) + quarantine(("log.csv", "not <i>good</i>: 'x'"))
    return summarise(part, np.array([4, 2, 1], np.int32))


def test_the_page_shows_everything_escaped_and_loads_nothing() -> None:
    page = corpus_report(full().model_dump(mode="json"), title="Mine & yours")
    assert page.count("<svg") == 5 and "<h1>Mine &amp; yours</h1>" in page
    for text in (
        "interactions from 1970-01 to 2001-09",
        "&lt;b&gt;view&lt;/b&gt;",
        "not &lt;i&gt;good&lt;/i&gt;: …",
        "log.csv",
    ):
        assert text in page
    tags = Tags()
    tags.feed(page)
    assert not {"script", "link", "img", "iframe", "b>view"} & tags.seen and "src=" not in page
    assert corpus_report(full().model_dump(mode="json"), title="Mine & yours") == page


def test_an_empty_corpus_has_a_page() -> None:
    page = corpus_report(summarise(PartStatistics(), np.zeros(0, np.int32)).model_dump(mode="json"))
    assert "<svg" not in page and "no times" in page and "Every row could be used" in page


def test_other_values_are_refused() -> None:
    with pytest.raises(ConfigError, match="corpus statistics: .*'interaction'"):
        corpus_report({**full().model_dump(), "interaction": 3})

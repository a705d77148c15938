"""Users of the corpus, users put since, strangers: who a slate is for."""

import pytest

from llm4rec.cluster.catalogue import LiveCatalogue
from llm4rec.cluster.people import People
from llm4rec.cluster.snapshot import Snapshot
from llm4rec.online.feedback import Feedback
from llm4rec.online.log import EventLog
from llm4rec.serve.contract import HistoryEntry, RecommendRequest
from llm4rec.serve.errors import NotFoundError
from tests.cluster.new_item import put


@pytest.fixture
def people(snapshot: Snapshot, log: EventLog) -> People:
    return People(snapshot, log)


@pytest.fixture
def catalogue(snapshot: Snapshot) -> LiveCatalogue:
    return LiveCatalogue.of(snapshot)


def feed(log: EventLog, user_id: str, item_id: str, event: str = "like", timestamp: int = 100) -> None:
    log.append_feedback([Feedback(f"{user_id}-{item_id}-{event}", user_id, item_id, event, timestamp=timestamp)])


def test_a_user_of_the_corpus(people: People, catalogue: LiveCatalogue) -> None:
    person = people.find("u0", catalogue)
    assert person.history.item.tolist() == [0, 1, 2, 3]  # all splits: the service knows the whole log
    assert person.seen.tolist() == [0, 1, 2, 3]
    assert person.popularity_weight == pytest.approx(0.5 / (0.55 / 3))
    assert person.attributes.tolist() == people._encoded(people.describe("u0", catalogue).attributes).tolist()
    assert person.attributes.all() and not people.find("u2", catalogue).history.item.size


def test_the_next_request_knows_the_last_click(people: People, catalogue: LiveCatalogue, log: EventLog) -> None:
    before = people.find("u1", catalogue)
    feed(log, "u1", "c")
    feed(log, "u1", "b", "dislike", 101)
    after = people.find("u1", catalogue)
    assert before.history.item.tolist() == [3, 0] and after.history.item.tolist() == [3, 0, 2]
    assert after.seen.tolist() == [0, 1, 2, 3]


def test_a_user_known_by_feedback_or_by_put_alone(people: People, catalogue: LiveCatalogue, log: EventLog) -> None:
    feed(log, "fed", "a")
    log.put_user("put", {"gender": "F", "age": 20})
    fed, put = people.find("fed", catalogue), people.find("put", catalogue)
    assert fed.history.item.tolist() == [0] and not fed.attributes.any()
    assert len(put.history) == 0 and put.attributes.tolist() == people.find("u0", catalogue).attributes.tolist()
    assert fed.popularity_weight == put.popularity_weight == pytest.approx(1)  # the mean


def test_attributes_that_were_put_take_the_place_of_the_corpus(
    people: People, catalogue: LiveCatalogue, log: EventLog
) -> None:
    log.put_user("u0", {"gender": "M"})
    person = people.find("u0", catalogue)
    assert person.history.item.tolist() == [0, 1, 2, 3]
    assert people.describe("u0", catalogue).attributes == {"gender": "M"}
    assert person.attributes.tolist() != people.find("u2", catalogue).attributes.tolist()


def test_no_attributes_that_were_put_are_none(people: People, catalogue: LiveCatalogue, log: EventLog) -> None:
    log.put_user("u0", {})
    assert not people.find("u0", catalogue).attributes.any()
    assert people.describe("u0", catalogue).attributes == {}


@pytest.mark.parametrize("user_id", ["nobody", "", "U0", "u0 "])
def test_an_unknown_user_is_named_with_a_way_out(people: People, catalogue: LiveCatalogue, user_id: str) -> None:
    for look in (people.find, people.describe):
        with pytest.raises(NotFoundError, match=f"unknown user '{user_id}'; GET /v1/users"):
            look(user_id, catalogue)


def test_a_forgotten_user_of_the_corpus_is_unknown(people: People, catalogue: LiveCatalogue, log: EventLog) -> None:
    log.delete_user("u0")
    with pytest.raises(NotFoundError, match="unknown user 'u0'"):
        people.find("u0", catalogue)
    assert people.search("u0", 5) == []
    feed(log, "u0", "d")
    again = people.find("u0", catalogue)
    assert again.history.item.tolist() == [3] and not again.attributes.any()
    assert again.popularity_weight == pytest.approx(1)


def test_a_history_sent_along_takes_the_place_of_the_logged_one(people: People, catalogue: LiveCatalogue) -> None:
    stranger = people.asking(RecommendRequest(history=["c", "a"]), catalogue)
    assert stranger.history.item.tolist() == [2, 0] and stranger.seen.tolist() == [0, 2]
    assert not stranger.attributes.any()
    known = people.asking(RecommendRequest(user_id="u1", history=["c"]), catalogue)
    assert known.history.item.tolist() == [2] and known.popularity_weight == 0 and known.attributes.any()
    empty = people.asking(RecommendRequest(user_id="u1", history=[]), catalogue)
    assert len(empty.history) == 0 and len(empty.seen) == 0
    asked = people.asking(RecommendRequest(query="a quiet drama"), catalogue)
    assert len(asked.history) == 0


def test_entries_of_a_history_carry_value_event_and_time(people: People, catalogue: LiveCatalogue) -> None:
    entries = [
        HistoryEntry(item_id="a", timestamp=50, value=4.0),
        HistoryEntry(item_id="b", timestamp=10, event="dislike"),
        HistoryEntry(item_id="c", timestamp=20),
    ]
    person = people.asking(RecommendRequest(history=entries), catalogue)
    assert person.history.item.tolist() == [2, 0] and person.history.timestamp.tolist() == [20, 50]
    assert person.history.value.tolist() == [3.5, 4.0]  # the corpus's median stands in
    assert person.seen.tolist() == [0, 1, 2]


def test_an_unknown_item_of_a_history_is_named(people: People, catalogue: LiveCatalogue) -> None:
    with pytest.raises(NotFoundError, match="history: unknown item 'zzz'; GET /v1/items"):
        people.asking(RecommendRequest(history=["a", "zzz"]), catalogue)


def test_an_item_put_since_counts_as_seen_but_the_model_does_not_read_it(
    people: People, catalogue: LiveCatalogue, log: EventLog
) -> None:
    changed = put(catalogue, "new")
    feed(log, "u1", "new")
    person = people.find("u1", changed)
    assert person.history.item.tolist() == [3, 0, 5] and person.seen.tolist() == [0, 3, 5]
    assert person.readable(5).item.tolist() == [3, 0] and len(person.readable(5).timestamp) == 2
    assert people.find("u1", catalogue).history.item.tolist() == [3, 0]


def test_a_description_is_newest_first_and_tells_dislikes(
    people: People, catalogue: LiveCatalogue, log: EventLog
) -> None:
    feed(log, "u1", "b", "dislike", 12)
    user = people.describe("u1", catalogue)
    shown = [(h.item_id, h.title, h.event, h.value, h.timestamp) for h in user.history]
    assert shown == [
        ("a", "Alien (1979)", "view", 4.0, 15),
        ("d", "Dune", "view", 2.0, 15),
        ("b", "Babe (1995)", "dislike", None, 12),
    ]
    assert user.attributes == {"gender": "M"}  # the age is not known


def test_search_by_id_and_by_attribute(people: People, log: EventLog) -> None:
    log.put_user("u9", {"gender": "f"})
    assert [(u.user_id, u.num_interactions) for u in people.search("U", 10)] == [
        ("u0", 4),
        ("u1", 2),
        ("u2", 0),
        ("u9", 0),
    ]
    assert [u.user_id for u in people.search("f", 10)] == ["u0", "u9"]
    assert [u.user_id for u in people.search("40", 10)] == ["u2"]
    assert [u.user_id for u in people.search("", 2)] == ["u0", "u1"]
    assert people.search("zzz", 10) == []


def test_who_was_forgotten_and_came_back_is_found_without_what_the_corpus_knows(people: People, log: EventLog) -> None:
    log.delete_user("u0")
    assert "u0" not in [u.user_id for u in people.search("u", 10)]
    log.put_user("u0", {"gender": "X"})
    (found,) = people.search("x", 10)
    assert (found.user_id, found.num_interactions, found.attributes) == ("u0", 0, {"gender": "X"})


def test_search_knows_attributes_put_for_a_user_of_the_corpus(people: People, log: EventLog) -> None:
    log.put_user("u0", {"gender": "X"})
    assert [u.user_id for u in people.search("x", 10)] == ["u0"]
    assert people.search("u0", 1)[0].attributes == {"gender": "X"}

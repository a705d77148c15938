"""The user's error is found behind the wrappers that a cluster puts around it."""

import pytest

from llm4rec.cluster.command import user_message
from llm4rec.errors import ArtifactError, ConfigError, DataError


def chained(outer: BaseException, *, cause: BaseException | None = None, context: BaseException | None = None):
    outer.__cause__, outer.__context__ = cause, context
    return outer


class WorkerFailed(RuntimeError):
    """As a trainer reports it: one error a worker rank."""

    def __init__(self, worker_failures: dict[int, BaseException]) -> None:
        super().__init__("worker group failed")
        self.worker_failures = worker_failures


class Remote(RuntimeError):
    """As a remote task reports it: the original in `cause`."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__("Traceback (most recent call last): ...")
        self.cause = cause


class RemoteData(DataError):
    """A remote wrapper that also is of the original's class: its own text is a traceback."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__("Traceback (most recent call last): ...")
        self.cause = cause

    def as_instanceof_cause(self) -> BaseException:
        return self


BAD = DataError("ratings.csv holds no rows")
WRAPPED = [
    BAD,
    chained(RuntimeError("x"), cause=BAD),
    chained(RuntimeError("x"), context=BAD),
    Remote(BAD),
    RemoteData(BAD),
    Remote(chained(RuntimeError("x"), cause=RemoteData(BAD))),
    WorkerFailed({0: OSError("peer closed"), 1: Remote(BAD)}),
    chained(WorkerFailed({1: BAD}), cause=RuntimeError("other")),
]


@pytest.mark.parametrize("error", WRAPPED, ids=lambda error: type(error).__name__)
def test_the_message_of_the_users_error_is_found(error: BaseException) -> None:
    assert user_message(error) == "ratings.csv holds no rows"


@pytest.mark.parametrize("error", [ConfigError("c"), ArtifactError("c"), DataError("c")])
def test_every_kind_of_users_error_counts(error: BaseException) -> None:
    assert user_message(chained(RuntimeError("x"), cause=error)) == "c"


@pytest.mark.parametrize(
    "error", [None, RuntimeError("bug"), ValueError("bug"), Remote(KeyError("bug")), WorkerFailed({})]
)
def test_a_bug_is_no_users_error(error: BaseException | None) -> None:
    assert user_message(error) is None


def test_what_ray_adds_to_a_message_is_left_out() -> None:
    noted = "file.csv: no rows\nFailed to apply UDF transform after 1/1 attempts (total backoff 0.0s).\nTo change retry"
    assert user_message(DataError(noted)) == "file.csv: no rows"


def test_a_circle_of_causes_ends() -> None:
    first, second = RuntimeError("a"), RuntimeError("b")
    first.__cause__, second.__cause__ = second, first
    assert user_message(first) is None
    second.__context__ = BAD
    assert user_message(first) == str(BAD)

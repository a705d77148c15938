"""What a step does with an error: what may not be met again is tried again, what the user has to mend is told."""

import pytest
from ray.exceptions import ActorDiedError, NodeDiedError, RayTaskError, WorkerCrashedError

from llm4rec.cluster.resume import Actor, is_loss
from llm4rec.errors import ConfigError


def refused_constructor() -> ActorDiedError:
    """As Ray tells of an actor whose constructor raised."""
    cause = ConfigError("encode.text_model 'x' cannot be loaded")
    return ActorDiedError(RayTaskError("__init__", "traceback", cause))


def behind(cause: Exception) -> Exception:
    try:
        raise RuntimeError("the step failed") from cause
    except RuntimeError as error:
        return error


@pytest.mark.parametrize(
    "lost", [ActorDiedError(), WorkerCrashedError(), NodeDiedError("gone"), behind(ActorDiedError())]
)
def test_processes_and_nodes_that_ended_are_losses(lost: Exception) -> None:
    assert is_loss(lost)


@pytest.mark.parametrize("other", [refused_constructor(), behind(refused_constructor()), ValueError("wrong"), None])
def test_what_would_be_met_again_is_none(other: Exception | None) -> None:
    assert not is_loss(other)


def test_what_an_actor_cannot_be_made_with_is_told_by_its_first_call() -> None:
    """Of what a constructor raises Ray keeps the text alone, and the user would read a traceback."""

    def factory() -> None:
        raise ConfigError("encode.text_model 'x' cannot be loaded")

    actor = Actor(factory, [])  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="'x' cannot be loaded"):
        actor({"id": 0})

"""Configuration hashes decide which stages are skipped."""

import pytest
from pydantic import ValidationError

from llm4rec.config import StrictModel, content_hash
from llm4rec.train.config import TrainConfig


class Section(StrictModel):
    a: int = 1
    b: float | None = None
    on: bool = False


def test_the_hash_is_of_the_values_alone() -> None:
    assert content_hash(Section()) == content_hash(Section(a=1)) == content_hash({"on": False, "b": None, "a": 1})
    assert len({content_hash(s) for s in (Section(), Section(a=2), Section(b=0.0), Section(on=True))}) == 4


def test_the_hash_is_stable_between_processes_and_releases() -> None:
    # printf '{"a": 1, "b": [0.1, null], "c": {"x": "\\u00e9"}}' | sha256sum | cut -c1-16
    assert content_hash({"c": {"x": "é"}, "b": [0.1, None], "a": 1}) == "f4190da8839170a6"


def test_the_hash_sees_nested_settings() -> None:
    deeper = TrainConfig.model_validate({"model": {"num_layers": 3}})
    assert content_hash(deeper) != content_hash(TrainConfig())


def test_a_configuration_cannot_be_changed_later() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Section().a = 2  # type: ignore[misc]


def test_flags_are_taken_where_they_belong() -> None:
    assert Section(on=True).on
    with pytest.raises(ValidationError, match="yes-or-no"):
        Section.model_validate({"b": True})

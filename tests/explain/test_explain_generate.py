"""The generator on a real, very small Llama made on the spot; the packaged one in a slow test."""

import time

import pytest
import torch

from llm4rec.errors import ConfigError
from llm4rec.explain.chat import finished
from llm4rec.explain.check import unsupported_claims
from llm4rec.explain.config import ExplainConfig
from llm4rec.explain.generate import Generator
from llm4rec.explain.grounds import Grounds
from llm4rec.explain.prompt import build_prompt, build_tuned_prompt
from tests.explain.tiny_llama import VOCABULARY, save_tiny_llama, soon

PROMPTS = [build_prompt(Grounds("1", "Aliens", ("Horror",))), build_prompt(Grounds("2", "it", (), ("Alien",)))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny_llama(tmp_path_factory.mktemp("tiny"))


def load(folder, speaks=None, **settings):
    generator = Generator(ExplainConfig(generator=str(folder), precision="fp32", **settings))
    if speaks is not None:  # the last layer made to prefer one word, whatever was said before

        def prefer(module, inputs, logits):
            logits[..., VOCABULARY.index(speaks)] += 1e4
            return logits

        generator._model.lm_head.register_forward_hook(prefer)
    return generator


@pytest.mark.parametrize("suits", [False, True])
def test_weights_are_of_numbers_that_suit_the_machine(folder, monkeypatch, suits):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": suits})
    model = Generator(ExplainConfig(generator=str(folder)))._model
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16 if suits else torch.float32}


def test_sentences_are_written_in_batches_and_in_order(folder):
    reasons = load(folder, ".", batch_size=1).write(PROMPTS, soon())
    assert reasons == [f"{prompt.opening} ." for prompt in PROMPTS]


def test_a_sentence_that_does_not_end_is_none(folder):
    assert load(folder, "like", max_new_tokens=8).write(PROMPTS, soon()) == [None, None]


def test_a_model_that_ends_itself_is_not_cut_after_a_sentence(folder):
    prompt = build_tuned_prompt(Grounds("1", "it"))
    assert load(folder, ".", max_new_tokens=8).write([prompt], soon()) == [f"{prompt.opening} {' '.join(8 * '.')}"]


def test_writing_stops_at_the_deadline(folder):
    generator = load(folder, "like", max_new_tokens=200)
    generator._model.lm_head.register_forward_hook(lambda *_: time.sleep(0.05))
    start = time.monotonic()
    assert generator.write(PROMPTS, start + 0.3) == [None, None]
    assert time.monotonic() - start < 2  # all 200 tokens would take ten seconds


def test_a_deadline_past_or_a_busy_generator_writes_nothing(folder):
    generator = load(folder, ".")
    assert generator.write(PROMPTS, time.monotonic() - 1) == [None, None]
    with generator._lock:
        assert generator.write(PROMPTS, time.monotonic() + 0.05) == [None, None]
    assert generator.write(PROMPTS[:1], soon())[0] is not None


def test_a_stream_begins_with_the_opening_and_ends_with_the_sentence(folder):
    pieces = list(load(folder, ".").stream(PROMPTS[0], soon()))
    assert pieces[0] == PROMPTS[0].opening
    assert "".join(pieces[1:]).strip() == "."


def test_a_model_that_is_not_there_is_one_clear_line(tmp_path):
    with pytest.raises(ConfigError, match="cannot be loaded") as error:
        Generator(ExplainConfig(generator=str(tmp_path / "nothing")))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("added", "sentence"),
    [
        (" horror.", "It is horror."),
        (' like "Dr.', None),
        (' like "Dr. No".', 'It is like "Dr. No".'),
        (" horror: it", None),
        (" horror:", "It is horror."),
        ("", None),
        (" horror", None),
    ],
)
def test_where_a_sentence_ends(added, sentence):
    assert finished("It is", added) == sentence


@pytest.mark.slow
def test_the_packaged_model_writes_true_sentences():
    generator = Generator(ExplainConfig())
    grounds = Grounds("2", "Aliens (1986)", ("Action", "Horror"), ("Alien (1979)",), ("Horror",))
    (reason,) = generator.write([build_prompt(grounds)], time.monotonic() + 120)
    assert reason is not None
    assert unsupported_claims(reason, grounds) == []

"""The generator on a real, very small Llama made on the spot; the packaged one in a slow test."""

import time

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from llm4rec.errors import ConfigError
from llm4rec.explain.check import unsupported_claims
from llm4rec.explain.config import ExplainConfig
from llm4rec.explain.generate import Generator, finished
from llm4rec.explain.grounds import Grounds
from llm4rec.explain.prompt import build_prompt

VOCABULARY = ["<pad>", "<end>", "you", "may", "like", "it", ".", "<unk>"]
FULL_STOP = VOCABULARY.index(".")
CHAT = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
PROMPTS = [build_prompt(Grounds("1", "Aliens", ("Horror",))), build_prompt(Grounds("2", "it", (), ("Alien",)))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A saved two-layer Llama that says nothing but "." and a tokenizer of eight words."""
    path = tmp_path_factory.mktemp("tiny")
    words = Tokenizer(models.WordLevel({word: code for code, word in enumerate(VOCABULARY)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<end>", unk_token="<unk>")
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(path)
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(VOCABULARY),
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            eos_token_id=1,
            pad_token_id=0,
        )
    )
    model.save_pretrained(path)
    return path


def load(folder, speaks=None, **settings):
    generator = Generator(ExplainConfig(generator=str(folder), dtype="float32", **settings))
    if speaks is not None:  # the last layer made to prefer one word, whatever was said before

        def prefer(module, inputs, logits):
            logits[..., VOCABULARY.index(speaks)] += 1e4
            return logits

        generator._model.lm_head.register_forward_hook(prefer)
    return generator


def soon():
    return time.monotonic() + 30


def test_sentences_are_written_in_batches_and_in_order(folder):
    reasons = load(folder, ".", batch_size=1).write(PROMPTS, soon())
    assert reasons == [f"{prompt.opening} ." for prompt in PROMPTS]


def test_a_sentence_that_does_not_end_is_none(folder):
    assert load(folder, "like", max_new_tokens=8).write(PROMPTS, soon()) == [None, None]


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

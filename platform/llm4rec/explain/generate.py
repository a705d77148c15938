"""A small language model that continues prompts until a deadline."""

import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    StoppingCriteria,
    StoppingCriteriaList,
    TextIteratorStreamer,
)

from llm4rec.device import best_device, number_type
from llm4rec.explain.chat import Chat, finished
from llm4rec.explain.config import ExplainConfig
from llm4rec.explain.prompt import Prompt
from llm4rec.explain.tune import Adapter
from llm4rec.language_model import load_causal_lm

# Against loops ("action, action, ..."); on new tokens only, because the prompt's words are to be repeated.
_REPETITION_PENALTY = 1.15


class Generator:
    """A causal language model and its tokenizer, loaded once; safe to call from several threads, one at a time."""

    def __init__(self, config: ExplainConfig, adapter: Adapter | None = None) -> None:
        """Load the weights.

        Args:
            config: of the explanations.
            adapter: what fine-tuning learnt; None where the model writes as it is.

        Raises:
            ConfigError: there is no such model here and none can be fetched.
        """
        self._config = config
        self._lock = threading.Lock()
        self._chat = Chat(config.generator)
        self._tokenizer = self._chat.tokenizer
        device = best_device()
        model: Any = load_causal_lm(config.generator, "explain.generator", number_type(config.precision, device))
        self._model = (model if adapter is None else adapter.on(model).merge_and_unload()).eval().to(device)
        # A model that has learnt to write sentences does not go round in circles, and titles repeat words.
        self._penalty = 1.0 if adapter else _REPETITION_PENALTY

    @property
    def healthy(self) -> bool:
        """Whether it can write: always, since whoever asks also computes."""
        return True

    def write(self, prompts: Sequence[Prompt], deadline: float) -> list[str | None]:
        """Continue each prompt greedily up to the end of its first sentence, or as far as the model goes.

        Args:
            prompts: any number; written `batch_size` at a time.
            deadline: a `time.monotonic()` moment; decoding stops at the first token after it.

        Returns:
            For each prompt its opening and what the model added, or None where no sentence was finished in time.
        """
        if not self._lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
            return [None] * len(prompts)
        try:
            reasons: list[str | None] = []
            for start in range(0, len(prompts), self._config.batch_size):
                reasons += self._write_batch(prompts[start : start + self._config.batch_size], deadline)
            return reasons
        finally:
            self._lock.release()

    def stream(self, prompt: Prompt, deadline: float) -> Iterator[str]:
        """One reason piece by piece, beginning with its opening; ends at the sentence's end or the deadline.

        The pieces are unchecked: show them only where an unsupported claim can still be taken back.
        """
        yield prompt.opening
        pieces = TextIteratorStreamer(self._tokenizer, skip_prompt=True, skip_special_tokens=True)
        worker = threading.Thread(target=self._stream_into, args=(pieces, prompt, deadline), daemon=True)
        worker.start()
        yield from pieces

    def _stream_into(self, pieces: TextIteratorStreamer, prompt: Prompt, deadline: float) -> None:
        try:
            with self._lock:
                self._generate(self._encode([prompt]), [prompt], deadline, streamer=pieces)
        finally:
            pieces.end()

    def _write_batch(self, prompts: Sequence[Prompt], deadline: float) -> list[str | None]:
        if time.monotonic() >= deadline:
            return [None] * len(prompts)
        inputs = self._encode(prompts)
        output = self._generate(inputs, prompts, deadline)
        added = self._tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        return [finished(prompt.opening, text) for prompt, text in zip(prompts, added, strict=True)]

    def _encode(self, prompts: Sequence[Prompt]) -> Any:
        texts = self._chat.texts(prompts)
        encoded = self._tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
        return encoded.to(self._model.device)

    @torch.inference_mode()
    def _generate(
        self, inputs: Any, prompts: Sequence[Prompt], deadline: float, streamer: TextIteratorStreamer | None = None
    ) -> torch.Tensor:
        stop = _Stop(self._tokenizer, inputs["input_ids"].shape[1], prompts, deadline)
        penalty = RepetitionPenaltyLogitsProcessor(self._penalty, prompt_ignore_length=inputs["input_ids"].shape[1])
        return self._model.generate(
            **inputs,
            do_sample=False,
            max_new_tokens=self._config.max_new_tokens,
            logits_processor=LogitsProcessorList([penalty]),
            stopping_criteria=StoppingCriteriaList([stop]),
            pad_token_id=self._tokenizer.pad_token_id,
            streamer=streamer,
        )


class _Stop(StoppingCriteria):
    """Stops a row at the end of its first sentence, unless it ends itself, and all rows at the deadline."""

    def __init__(self, tokenizer: Any, prompt_length: int, prompts: Sequence[Prompt], deadline: float) -> None:
        self._tokenizer = tokenizer
        self._prompt_length = prompt_length
        self._prompts = prompts
        self._deadline = deadline

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor, **kwargs: Any) -> torch.BoolTensor:
        """Which rows of a batch are done, shape (B,)."""
        late = time.monotonic() >= self._deadline
        added = self._tokenizer.batch_decode(input_ids[:, self._prompt_length :], skip_special_tokens=True)
        done = [
            late or (not prompt.ends_itself and finished(prompt.opening, text) is not None)
            for prompt, text in zip(self._prompts, added, strict=True)
        ]
        return torch.tensor(done, dtype=torch.bool, device=input_ids.device)  # type: ignore[return-value]

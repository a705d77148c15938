"""Writing on CPUs with OpenVINO GenAI: requests join a running batch, and common starts of prompts are read once."""

import itertools
import logging
import math
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import openvino_genai as genai

from llm4rec.explain.chat import Chat, finished
from llm4rec.explain.config import ExplainConfig
from llm4rec.explain.prompt import Prompt

logger = logging.getLogger(__name__)

BLOCK, PROMPT_TOKENS = 32, 512
"""Tokens that a block of the cache holds, and those of a long prompt."""
BATCHES = 2
"""The cache has room for so many full batches; what the first one leaves free keeps starts of prompts."""
POLL_S = 0.5
"""How often a reader whose writer may have died looks whether it has."""


@dataclass(eq=False)
class _Request:
    """One reason in the making."""

    prompt: Prompt
    tokens: list[int]
    deadline: float
    handle: Any = None
    written: list[int] = field(default_factory=list)
    shown: str = ""
    sentence: str | None = None
    pieces: "queue.SimpleQueue[str | None]" = field(default_factory=queue.SimpleQueue)
    done: threading.Event = field(default_factory=threading.Event)


class ContinuousGenerator:
    """A causal language model that writes any number of reasons at once; safe to call from several threads."""

    def __init__(self, config: ExplainConfig, weights: Path, threads: int) -> None:
        """Load the weights.

        Args:
            config: of the explanations.
            weights: a GGUF file, not needed after this.
            threads: how many compute.
        """
        self._config = config
        self._chat = Chat(config.generator)
        scheduler = genai.SchedulerConfig()
        scheduler.enable_prefix_caching = True
        blocks = math.ceil((PROMPT_TOKENS + config.max_new_tokens) / BLOCK)
        scheduler.num_kv_blocks = BATCHES * config.batch_size * blocks
        scheduler.max_num_seqs = config.batch_size
        self._pipeline = genai.ContinuousBatchingPipeline(
            str(weights), scheduler, "CPU", {"INFERENCE_NUM_THREADS": threads}
        )
        self._numbers = itertools.count()
        self._arrivals: queue.SimpleQueue[_Request] = queue.SimpleQueue()
        self._worker = threading.Thread(target=self._work, name="explain", daemon=True)
        self._worker.start()

    @property
    def healthy(self) -> bool:
        """Whether somebody writes."""
        return self._worker.is_alive()

    def write(self, prompts: Sequence[Prompt], deadline: float) -> list[str | None]:
        """Continue each prompt greedily up to the end of its first sentence, or as far as the model goes.

        Args:
            prompts: any number; `batch_size` are written at once.
            deadline: a `time.monotonic()` moment; what is not written by then is given up.

        Returns:
            For each prompt its opening and what the model added, or None where no sentence was finished in time.
        """
        requests = [self._submit(prompt, deadline, self._chat.tokens(prompt)) for prompt in prompts]
        for request in requests:
            self._wait(request)
        return [request.sentence if request.done.is_set() else None for request in requests]

    def stream(self, prompt: Prompt, deadline: float) -> Iterator[str]:
        """One reason piece by piece, beginning with its opening; ends at the sentence's end or the deadline.

        The pieces are unchecked: show them only where an unsupported claim can still be taken back.
        """
        yield prompt.opening
        request = self._submit(prompt, deadline, self._chat.tokens(prompt))
        try:
            while self._worker.is_alive() and time.monotonic() < deadline:
                try:
                    piece = request.pieces.get(timeout=min(POLL_S, max(0.0, deadline - time.monotonic())))
                except queue.Empty:
                    continue
                if piece is None:
                    return
                yield piece
        finally:
            request.deadline = 0.0  # who stops listening is not written for

    def _submit(self, prompt: Prompt, deadline: float, tokens: list[int]) -> _Request:
        request = _Request(prompt, tokens, deadline)
        self._arrivals.put(request)
        return request

    def _wait(self, request: _Request) -> None:
        """Until the request is done, its deadline has come or nobody is left to work on it."""
        while not request.done.is_set() and self._worker.is_alive() and time.monotonic() < request.deadline:
            request.done.wait(min(POLL_S, max(0.0, request.deadline - time.monotonic())))

    def _work(self) -> None:
        """One thread owns the pipeline: takes requests in between steps, and ends those that are finished or late."""
        active: list[_Request] = []
        while True:
            while not active or not self._arrivals.empty():
                request = self._arrivals.get()
                if self._begins(request):
                    active.append(request)
            self._pipeline.step()
            active = [request for request in active if not self._over(request)]
            if not active and self._pipeline.has_non_finished_requests():
                self._pipeline.step()  # which lets go of what was cancelled

    def _begins(self, request: _Request) -> bool:
        """Give a request to the pipeline; whether it took it."""
        try:
            if time.monotonic() < request.deadline:  # nobody waits for a late one
                self._begin(request)
                return True
        except Exception:  # one request that cannot be begun must not end the others
            logger.exception("a reason cannot be written")
        self._end(request)
        return False

    def _begin(self, request: _Request) -> None:
        tokens = ov.Tensor(np.array([request.tokens], np.int64))
        request.handle = self._pipeline.add_request(next(self._numbers), tokens, self._settings())

    def _settings(self) -> genai.GenerationConfig:
        settings = genai.GenerationConfig()
        settings.max_new_tokens = self._config.max_new_tokens
        settings.do_sample = False
        settings.eos_token_id = self._chat.tokenizer.eos_token_id
        return settings

    def _over(self, request: _Request) -> bool:
        """Take in what the last step wrote; whether that was the last of it."""
        ended = request.handle.get_status() != genai.GenerationStatus.RUNNING
        if ended or request.handle.can_read():
            while request.handle.can_read():
                for output in request.handle.read().values():
                    request.written += output.generated_ids
            text = self._chat.text(request.written)
            if ended or not request.prompt.ends_itself:
                request.sentence = finished(request.prompt.opening, text)
            if not text.endswith("\ufffd"):  # a character of which some bytes are still to come
                request.pieces.put(text[len(request.shown) :])
                request.shown = text
        late = time.monotonic() >= request.deadline
        if not (ended or late or request.sentence is not None):
            return False
        if not ended:
            request.handle.cancel()
        self._end(request)
        return True

    def _end(self, request: _Request) -> None:
        request.pieces.put(None)
        request.done.set()

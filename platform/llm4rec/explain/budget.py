"""How many tokens a language model may be asked for."""

import threading
import time
from collections.abc import Callable

from llm4rec.explain.config import ExplainConfig

MINUTE_S = 60.0


class TokenBudget:
    """A bucket of tokens that fills at an even rate; safe for several threads."""

    def __init__(self, config: ExplainConfig, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with a full bucket.

        Args:
            config: what a request and a minute may cost, and what a reason costs at most.
            clock: seconds.
        """
        self._reason = config.max_new_tokens
        self._per_request = config.tokens_per_request // self._reason
        self._most = float(config.tokens_per_minute)
        self._clock = clock
        self._left, self._since = self._most, clock()
        self._lock = threading.Lock()

    def reasons(self, wanted: int) -> int:
        """Of so many reasons that one request wants, how many may be written; their tokens are taken."""
        with self._lock:
            now = self._clock()
            self._left = min(self._most, self._left + (now - self._since) * self._most / MINUTE_S)
            self._since = now
            granted = min(wanted, self._per_request, int(self._left // self._reason))
            self._left -= granted * self._reason
        return granted

"""Configuration of the serve stage."""

from pydantic import Field, model_validator

from llm4rec.config import StrictModel
from llm4rec.errors import ConfigError, Llm4RecError


def require_loopback(host: str) -> None:
    """Make sure that only this machine reaches an address on which no key is asked for.

    Raises:
        ConfigError: others do.
    """
    if host != "localhost" and not host.startswith("127.") and host != "::1":
        raise ConfigError(
            f"host {host!r} can be reached from other machines, and serve.keys is empty: anybody could read and write. "
            "Make keys (jobs/keys.py), or listen on 127.0.0.1"
        )


class ServeConfig(StrictModel):
    """Where the service listens and what it accepts."""

    host: str = "127.0.0.1"
    """Address to listen on; the default is reachable from this machine only."""
    port: int = Field(8000, ge=1, le=65535)
    """TCP port."""
    k: int = Field(10, ge=1)
    """Slate size where a request does not say."""
    max_k: int = Field(100, ge=1)
    """Largest slate size a request may ask for."""
    deadline_s: float = Field(2.0, gt=0)
    """Seconds for writing reasons; when they are over, a template answers."""
    request_timeout_s: float = Field(30.0, gt=0)
    """Seconds after which a request is given up with 503."""
    retry_after_s: int = Field(1, ge=1)
    """What a client is told to wait after a 429 or 503."""
    requests_at_once: int = Field(256, ge=1)
    """Requests under way in a replica at most, streams included; more are refused with 429."""
    max_body_bytes: int = Field(1 << 20, ge=1)
    """Largest request body; a larger one is refused with 413."""

    canary_users: int = Field(300, ge=1)
    """Known choices, one of each user, that a model must foresee before it is released."""
    canary_loss: float = Field(0.05, ge=0, lt=1)
    """How much of the present model's NDCG@10 on them it may lose, relatively."""
    roll_backs_kept: int = Field(2, ge=1)
    """How many roll-backs in a row are immediate: models before the present one stay in the memory of every replica
    and learner."""
    keys: str = ""
    """File of API keys, see jobs/keys.py; empty: none are asked for, which is allowed on this machine's own address
    only."""
    requests_per_s: float | None = Field(None, gt=0)
    """Requests a second that each replica takes of one key, or without keys of one address; null: any number."""

    @model_validator(mode="after")
    def _keys_beyond_loopback(self) -> "ServeConfig":
        if not self.keys:
            require_loopback(self.host)
        return self

    @model_validator(mode="after")
    def _default_is_allowed(self) -> "ServeConfig":
        if self.k > self.max_k:
            raise ValueError(f"k is {self.k}, more than max_k {self.max_k}")
        return self

    def slate_size(self, k: int | None) -> int:
        """The size a request asks for, or the default.

        Raises:
            Llm4RecError: it asks for too many.
        """
        if k is not None and k > self.max_k:
            raise Llm4RecError(f"k is too large: {min(k, 10**18)}; this service allows 1 to {self.max_k}")
        return k or self.k

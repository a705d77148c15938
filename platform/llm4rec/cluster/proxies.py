"""Where Ray Serve itself listens: its HTTP proxies, and the gRPC server of each replica."""

import os
from typing import Any

import ray
from ray.serve.config import HTTPOptions, ProxyLocation

from llm4rec.cluster.run_config import RunConfig
from llm4rec.cluster.session import LOOPBACK
from llm4rec.errors import ConfigError
from llm4rec.serve.config import require_loopback


def require_port_free_of_proxies(config: RunConfig) -> None:
    """Make sure that Serve's proxies do not listen where this replica will: the port can be shared unnoticed.

    Raises:
        ConfigError: they do.
    """
    options, location = _proxies()
    if location != ProxyLocation.Disabled and options.port == config.serve.port:
        raise ConfigError(
            f"Serve's proxies listen on port {options.port}, where replicas of cluster.profile laptop are to listen: "
            "start Serve with proxy_location: Disabled (a running one keeps what it was started with: `serve shutdown`)"
        )


def require_proxies(config: RunConfig) -> None:
    """Make sure that Serve's proxies listen, and where they may: the app's configuration does not decide that.

    Raises:
        ConfigError: they do not.
    """
    options, location = _proxies()
    if location == ProxyLocation.Disabled:
        raise ConfigError(
            "cluster.profile cluster needs Serve's proxies: set proxy_location: EveryNode where it starts"
        )
    if not config.serve.keys:  # HAProxy listens on all addresses, whatever is configured
        every = os.environ.get("RAY_SERVE_ENABLE_HA_PROXY", "0") == "1"
        require_loopback("0.0.0.0" if every else str(options.host or LOOPBACK))


def _proxies() -> tuple[HTTPOptions, ProxyLocation]:
    """How Serve's proxies were started here, and where they are."""
    from ray.serve.context import _get_global_client  # noqa: PLC2701

    client: Any = _get_global_client()
    return client.http_config, ray.get(client._controller.get_proxy_location.remote())


def listen_on_loopback() -> None:
    """Keep this replica's gRPC server off other interfaces when the node itself is on loopback.

    Ray Serve 2.60 binds it to all interfaces with no setting to change that. Call it in a deployment's constructor:
    the server starts after that.
    """
    if ray.util.get_node_ip_address() != LOOPBACK:
        return
    from ray.serve._private import replica  # noqa: PLC2701

    bind = replica.add_port_to_grpc_server
    replica.add_port_to_grpc_server = lambda server, address: bind(server, address.replace("[::]", LOOPBACK))

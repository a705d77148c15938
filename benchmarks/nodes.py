"""Machines of one Ray cluster, on this one: each in namespaces of its own, cut off as if the power had failed.

A node has its own network (an address behind a bridge), processes, /tmp and /dev/shm, and of this checkout it sees the
virtual environment only, as if that were its image: code comes with the job, data and artifacts from an object store.
Needs root on Linux with `ip` (iproute2) and `unshare` (util-linux).
"""

import contextlib
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
import yaml
from measure import HOME
from ray.autoscaler._private import fake_multi_node  # noqa: PLC2701
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID as PRETENDED_HEAD  # noqa: PLC2701

BRIDGE, NETWORK, PREFIX = "llm4rec", "10.77.0", 24
OUTSIDE = f"{NETWORK}.1"
"""The address of this machine as nodes see it."""
GCS_PORT, DASHBOARD_PORT = 6379, 8265
OBJECT_STORE_BYTES = 200 * 2**20
START_S = 120
PRETENDED = {
    "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    "RAY_FAKE_CLUSTER": "1",
    "RAY_enable_autoscaler_v2": "1",
    "RAY_CLOUD_INSTANCE_ID": PRETENDED_HEAD,
    "RAY_OVERRIDE_NODE_ID_FOR_TESTING": PRETENDED_HEAD,
}
"""What Ray's provider of pretended nodes wants in the environment of its head."""
DATA, CODE = ("data", "runs", ".demo"), ("platform", "jobs", "serve_apps", "configs", "benchmarks", "tests")
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@contextmanager
def network() -> Iterator[None]:
    """The bridge that nodes are connected to; this machine is `OUTSIDE` there. One at a time."""
    with contextlib.suppress(subprocess.CalledProcessError):
        _do(f"ip link del {BRIDGE}")  # of one that was killed
    _do(f"ip link add {BRIDGE} type bridge")
    _do(f"ip addr add {OUTSIDE}/{PREFIX} dev {BRIDGE}")
    _do(f"ip link set {BRIDGE} up")
    try:
        yield
    finally:
        _do(f"ip link del {BRIDGE}")


class Nodes:
    """A Ray cluster of several nodes within `network()`; leaving the context ends all of them."""

    def __init__(
        self,
        folder: Path,
        *,
        token: bool = True,
        environment: Mapping[str, str] | None = None,
        hides: Sequence[str] = DATA + CODE,
        files: Mapping[str, bytes] | None = None,
    ) -> None:
        """Prepare.

        Args:
            folder: for what the nodes write, of each in a folder of its own.
            token: whether Ray asks for one.
            environment: what nodes and jobs have in theirs beside the usual.
            hides: folders of this checkout that nodes do not see. A served app needs the code, which the image of
                deploy/Dockerfile has.
            files: that every node has in its /tmp, by name.
        """
        self.folder, self._files = folder, files or {}
        self._hides = hides
        self.address = f"http://{NETWORK}.10:{DASHBOARD_PORT}"
        self._running: dict[str, tuple[int, subprocess.Popen[bytes]]] = {}
        own = {name: value for name, value in os.environ.items() if name.lower() not in PROXIES}
        asked = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)} if token else {}
        self.environment = {
            **own,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
            "RAY_AUTH_MODE": "disabled",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",
            "TQDM_DISABLE": "1",
            **({} if CODE[0] in hides else {"PYTHONPATH": f"{HOME / 'platform'}:{HOME}", "LLM4REC_HOME": str(HOME)}),
            **asked,
            **(environment or {}),
        }

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in list(self._running):
            self.kill(name)

    def start(
        self,
        name: str,
        *,
        cpus: float,
        cores: Sequence[int] | None = None,
        autoscaling: Mapping[str, Any] | None = None,
    ) -> None:
        """Start a node and wait until it is part of the cluster; the one named head first.

        Args:
            name: of the node.
            cpus: that it says it has.
            cores: of this machine, which all of its processes are kept to; else they use what is free.
            autoscaling: for the head, what Ray's autoscaler is to do, with Ray's provider of pretended nodes.
        """
        head = name == "head"
        place = (
            10 if head else next(n for n in range(11, 99) if n not in {taken for taken, _ in self._running.values()})
        )
        address = f"{NETWORK}.{place}"
        own = self.folder / name
        own.mkdir(parents=True, exist_ok=True)
        ray = ["ray", "start", "--block", "--disable-usage-stats", f"--node-ip-address={address}"]
        ray += [f"--object-store-memory={OBJECT_STORE_BYTES}", f"--num-cpus={cpus:g}"]
        if head:
            ray += ["--head", f"--port={GCS_PORT}", "--dashboard-host=0.0.0.0", f"--dashboard-port={DASHBOARD_PORT}"]
        else:
            ray.append(f"--address={NETWORK}.10:{GCS_PORT}")
        script = own / "start.sh"
        private = self._private(own, address)
        if autoscaling is not None:
            written = yaml.safe_dump(dict(autoscaling))
            (own / "tmp" / "autoscaling.yaml").write_text(written, encoding="utf-8")
            ray.append("--autoscaling-config=/tmp/autoscaling.yaml")
            # Ray's wheel lacks the file that this provider takes defaults from
            provider = Path(fake_multi_node.__file__).parent
            shutil.copytree(provider, own / "provider", dirs_exist_ok=True)
            (own / "provider" / "example.yaml").write_text(written, encoding="utf-8")
            private.insert(-1, f"mount --bind {shlex.quote(str(own / 'provider'))} {shlex.quote(str(provider))}")
        script.write_text("\n".join([*private, f"{shlex.join(ray)} &", "wait $!"]) + "\n", encoding="utf-8")
        self._connect(self._network(place), place)
        pinned = [] if cores is None else ["taskset", "--cpu-list", ",".join(map(str, cores))]
        inside = [*pinned, "unshare", "--pid", "--fork", "--mount-proc", "--uts", "--kill-child=SIGKILL"]
        with (own / "ray.log").open("wb") as output:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self._network(place), *inside, "bash", str(script)],
                env={**self.environment, **(PRETENDED if autoscaling is not None else {})},
                cwd="/",
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._running[name] = (place, process)
        self._wait(name, process, own / "ray.log", head)

    def kill(self, name: str) -> None:
        """SIGKILL to all processes of a node at once, and its network is gone."""
        place, process = self._running.pop(name)
        with contextlib.suppress(psutil.Error):  # it may have ended by itself
            outer = psutil.Process(process.pid)
            for each in [*outer.children(), outer]:
                each.send_signal(signal.SIGKILL)  # the first process of the node: the kernel ends the others with it
        process.wait()
        _do(f"ip netns del {self._network(place)}")
        with contextlib.suppress(subprocess.CalledProcessError):
            _do(f"ip link del {BRIDGE}-{place}")

    def processes(self, name: str) -> list[psutil.Process]:
        """Those of a node, as this machine sees them."""
        try:
            return psutil.Process(self._running[name][1].pid).children(recursive=True)
        except psutil.Error:
            return []

    def submit(self, *entrypoint: str, from_image: bool = False) -> str:
        """`ray job submit` from outside the checkout, followed to its end; what it printed.

        Args:
            entrypoint: the command.
            from_image: whether the code that nodes have is used, instead of a copy that travels with the job.

        Raises:
            RuntimeError: the job failed.
        """
        done = subprocess.run(
            self.submission(*entrypoint, from_image=from_image),
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{shlex.join(entrypoint)} failed:\n{done.stdout[-4000:]}\n{done.stderr[-2000:]}")
        return done.stdout + done.stderr

    def submission(self, *entrypoint: str, from_image: bool = False) -> list[str]:
        """The command that submits a job."""
        submit = ["ray", "job", "submit", "--address", self.address]
        if from_image:
            return [*submit, "--", *entrypoint]
        environment = yaml.safe_load((HOME / "runtime_env.yaml").read_text(encoding="utf-8"))
        environment["env_vars"]["PYTHONUNBUFFERED"] = "1"
        (self.folder / "runtime_env.yaml").write_text(yaml.safe_dump(environment), encoding="utf-8")
        submit += ["--working-dir", str(HOME), "--runtime-env", str(self.folder / "runtime_env.yaml")]
        return [*submit, "--", *entrypoint]

    def run(self, *command: str) -> None:
        """Run one of Ray's commands from outside.

        Raises:
            RuntimeError: it failed.
        """
        done = self._ask(*command)
        if done.returncode:
            raise RuntimeError(f"{shlex.join(command)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")

    def address_of(self, name: str) -> str:
        """The IP address of a node."""
        return f"{NETWORK}.{self._running[name][0]}"

    def _network(self, place: int) -> str:
        return f"{BRIDGE}-{place}"

    def _connect(self, network: str, place: int) -> None:
        outer = f"{BRIDGE}-{place}"
        with contextlib.suppress(subprocess.CalledProcessError):
            _do(f"ip netns del {network}")  # of one that was killed
        _do(f"ip netns add {network}")
        _do(f"ip link add {outer} type veth peer name eth0 netns {network}")
        _do(f"ip link set {outer} master {BRIDGE} up")
        for command in (
            "ip link set lo up",
            f"ip addr add {NETWORK}.{place}/{PREFIX} dev eth0",
            "ip link set eth0 up",
            f"ip route add default via {OUTSIDE}",
        ):
            _do(f"ip netns exec {network} {command}")

    def _private(self, own: Path, address: str) -> list[str]:
        """What a node's first process does to see files of its own only; mounts end with it."""
        empty, tmp = own / "empty", own / "tmp"
        shutil.rmtree(tmp, ignore_errors=True)
        for folder in (empty, tmp):
            folder.mkdir(parents=True, exist_ok=True)
        # a name that is not the address which others reach would keep PyTorch's gloo from finding its peers
        (own / "hosts").write_text(f"127.0.0.1 localhost\n{address} {own.name}\n", encoding="utf-8")
        for name, contents in self._files.items():
            (tmp / name).write_bytes(contents)
        hidden = [HOME / name for name in self._hides if (HOME / name).is_dir()]
        return [
            "set -e",
            f"hostname {own.name}",
            f"mount --bind {shlex.quote(str(own / 'hosts'))} /etc/hosts",
            *(f"mount --bind {shlex.quote(str(empty))} {shlex.quote(str(path))}" for path in hidden),
            "mount -t tmpfs tmpfs /dev/shm",
            f"mount --bind {shlex.quote(str(tmp))} /tmp",
        ]

    def _wait(self, name: str, process: subprocess.Popen[bytes], log: Path, head: bool) -> None:
        deadline = time.monotonic() + START_S
        while "Ray runtime started" not in log.read_text(errors="replace"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"node {name} did not start:\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.2)
        while head and self._ask("ray", "job", "list", "--address", self.address).returncode:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the head's dashboard does not answer:\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.5)

    def _ask(self, *command: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)


def _do(command: str) -> None:
    subprocess.run(shlex.split(command), check=True, capture_output=True)


def sequence(values: Sequence[str]) -> list[str]:
    """Settings as a job's command line has them."""
    return [part for value in values for part in ("--set", value)]

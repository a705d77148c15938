"""Machines of one Ray cluster, on this one: each in namespaces of its own, cut off as if the power had failed.

A node has its own network (an address behind a bridge), processes, /tmp and /dev/shm, and of this checkout it sees the
virtual environment only, as if that were its image: code comes with the job, data and artifacts from an object store.
Needs root on Linux with `ip` (iproute2) and `unshare` (util-linux).
"""

import contextlib
import json
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
import yaml
from measure import HOME

NETWORK, PREFIX = "10.77.0", 24
OUTSIDE = f"{NETWORK}.1"
"""The address of this machine as nodes see it."""
GCS_PORT, DASHBOARD_PORT = 6379, 8265
OBJECT_STORE_BYTES = 200 * 2**20
START_S = 120
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


class Nodes:
    """A Ray cluster of several nodes; leaving the context ends all of them."""

    def __init__(self, folder: Path, *, token: bool = True, environment: Mapping[str, str] | None = None) -> None:
        """Prepare.

        Args:
            folder: for what the nodes write, of each in a folder of its own.
            token: whether Ray asks for one.
            environment: what nodes and jobs have in theirs beside the usual.
        """
        self.folder = folder
        self.address = f"http://{NETWORK}.10:{DASHBOARD_PORT}"
        self._running: dict[str, tuple[int, subprocess.Popen[bytes]]] = {}
        self._bridge = f"lr{os.getpid() % 10**6}"
        own = {name: value for name, value in os.environ.items() if name.lower() not in PROXIES}
        asked = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)} if token else {}
        self.environment = {
            **own,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
            "RAY_AUTH_MODE": "disabled",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",
            "TQDM_DISABLE": "1",
            **asked,
            **(environment or {}),
        }

    def __enter__(self) -> Self:
        _do(f"ip link add {self._bridge} type bridge")
        _do(f"ip addr add {OUTSIDE}/{PREFIX} dev {self._bridge}")
        _do(f"ip link set {self._bridge} up")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in list(self._running):
            self.kill(name)
        _do(f"ip link del {self._bridge}")

    def start(self, name: str, *, cpus: float, resources: Mapping[str, float] | None = None) -> None:
        """Start a node and wait until it is part of the cluster; the one named head first.

        Args:
            name: of the node.
            cpus: that it says it has.
            resources: further ones.
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
        if resources:
            ray.append(f"--resources={json.dumps(dict(resources))}")
        if head:
            ray += ["--head", f"--port={GCS_PORT}", "--dashboard-host=0.0.0.0", f"--dashboard-port={DASHBOARD_PORT}"]
        else:
            ray.append(f"--address={NETWORK}.10:{GCS_PORT}")
        script = own / "start.sh"
        script.write_text("\n".join([*self._private(own), f"{shlex.join(ray)} &", "wait $!"]) + "\n", encoding="utf-8")
        self._connect(self._network(place), place)
        inside = ["unshare", "--pid", "--fork", "--mount-proc", "--uts", "--kill-child=SIGKILL", "bash", str(script)]
        with (own / "ray.log").open("wb") as output:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self._network(place), *inside],
                env=self.environment,
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
        for each in [*psutil.Process(process.pid).children(recursive=False), psutil.Process(process.pid)]:
            with contextlib.suppress(psutil.Error):
                each.send_signal(signal.SIGKILL)  # the first process of the node: the kernel ends the others with it
        process.wait()
        _do(f"ip netns del {self._network(place)}")
        with contextlib.suppress(subprocess.CalledProcessError):
            _do(f"ip link del {self._bridge}-{place}")

    @property
    def names(self) -> list[str]:
        """Of the running nodes."""
        return list(self._running)

    def processes(self, name: str) -> list[psutil.Process]:
        """Those of a node, as this machine sees them."""
        try:
            return psutil.Process(self._running[name][1].pid).children(recursive=True)
        except psutil.Error:
            return []

    def submit(self, *entrypoint: str, check: bool = True, settings: Mapping[str, str] | None = None) -> str:
        """`ray job submit` from outside the checkout, followed to its end; what it printed.

        Args:
            entrypoint: the command.
            check: whether a job that failed is an error.
            settings: further environment variables of the job.
        """
        done = subprocess.run(
            self.submission(*entrypoint, settings=settings),
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if check and done.returncode:
            raise RuntimeError(f"{shlex.join(entrypoint)} failed:\n{done.stdout[-4000:]}\n{done.stderr[-2000:]}")
        return done.stdout + done.stderr

    def submission(self, *entrypoint: str, settings: Mapping[str, str] | None = None) -> list[str]:
        """The command that submits a job."""
        environment = yaml.safe_load((HOME / "runtime_env.yaml").read_text(encoding="utf-8"))
        environment["env_vars"] |= {"PYTHONUNBUFFERED": "1", **(settings or {})}
        (self.folder / "runtime_env.yaml").write_text(yaml.safe_dump(environment), encoding="utf-8")
        submit = ["ray", "job", "submit", "--address", self.address, "--working-dir", str(HOME)]
        return [*submit, "--runtime-env", str(self.folder / "runtime_env.yaml"), "--", *entrypoint]

    def inside(self, name: str, *command: str) -> list[str]:
        """A command as it must be written to run in the network of a node."""
        return ["ip", "netns", "exec", self._network(self._running[name][0]), *command]

    def _network(self, place: int) -> str:
        return f"{self._bridge}n{place}"

    def _connect(self, network: str, place: int) -> None:
        outer = f"{self._bridge}-{place}"
        _do(f"ip netns add {network}")
        _do(f"ip link add {outer} type veth peer name eth0 netns {network}")
        _do(f"ip link set {outer} master {self._bridge} up")
        for command in (
            "ip link set lo up",
            f"ip addr add {NETWORK}.{place}/{PREFIX} dev eth0",
            "ip link set eth0 up",
            f"ip route add default via {OUTSIDE}",
        ):
            _do(f"ip netns exec {network} {command}")

    def _private(self, own: Path) -> list[str]:
        """What a node's first process does to see files of its own only; mounts end with it."""
        empty, tmp = own / "empty", own / "tmp"
        shutil.rmtree(tmp, ignore_errors=True)
        for folder in (empty, tmp):
            folder.mkdir(parents=True, exist_ok=True)
        image = Path(sys.prefix).resolve()
        hidden = [path for path in HOME.iterdir() if path.is_dir() and path.resolve() not in {image, *image.parents}]
        return [
            "set -e",
            f"hostname {own.name}",
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

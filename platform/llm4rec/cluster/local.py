"""A Ray cluster of one node on loopback, started and stopped with everything that belongs to it."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from llm4rec.artifacts import git_revision
from llm4rec.cluster.serve_status import failure_of
from llm4rec.cluster.session import LOG_URL, LOOPBACK, LOOPBACK_ONLY, OBJECT_STORE_BYTES
from llm4rec.errors import Llm4RecError

MARK = "LLM4REC_CLUSTER"
START_SECONDS = 120
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Opens addresses on this machine, whatever proxy the environment names."""
STOP_SECONDS = 8  # replicas of Serve do not end when asked; what is acknowledged is on the disk by then


class LocalCluster:
    """`ray start --head` on loopback with token authentication; leaving the context ends every process of it.

    All processes carry a mark in their environment, so that the ones of this cluster, and no other Ray's, are ended.
    """

    def __init__(self, home: Path, folder: Path, *, gcs_port: int = 6379, dashboard_port: int = 8265) -> None:
        """Prepare.

        Args:
            home: the repository; jobs and the app resolve relative paths against it.
            folder: for the token (mode 600) and Ray's own output.
            gcs_port: port of the head.
            dashboard_port: port of the dashboard, which takes jobs and deployments.
        """
        self.home = home
        self.folder = folder
        self.gcs_port = gcs_port
        self.address = f"http://{LOOPBACK}:{dashboard_port}"
        self.mark = uuid.uuid4().hex
        self._dashboard_port = dashboard_port
        self._process: subprocess.Popen[bytes] | None = None
        self._token = secrets.token_hex(32)

    @property
    def environment(self) -> dict[str, str]:
        """What processes of this cluster, and commands that talk to it, need in their environment."""
        paths = [str(self.home / "platform"), str(self.home), *filter(None, [os.environ.get("PYTHONPATH")])]
        own = {name: value for name, value in os.environ.items() if name != LOG_URL}  # of another service
        return {
            **own,
            **LOOPBACK_ONLY,
            **{name: f"{LOOPBACK},localhost" for name in ("NO_PROXY", "no_proxy")},
            MARK: self.mark,
            "LLM4REC_HOME": str(self.home),
            "LLM4REC_REVISION": git_revision(),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
            "PYTHONPATH": os.pathsep.join(paths),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.folder / "token"),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",  # else 15: replicas would wait for everything else on this machine
            "TQDM_DISABLE": "1",
        }

    def __enter__(self) -> Self:
        for port in (self.gcs_port, self._dashboard_port):
            require_free(port)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._write_token()
        command = ["ray", "start", "--head", "--block", f"--node-ip-address={LOOPBACK}", f"--port={self.gcs_port}"]
        command += [f"--dashboard-host={LOOPBACK}", f"--dashboard-port={self._dashboard_port}"]
        command += [
            f"--object-store-memory={OBJECT_STORE_BYTES}",
            "--disable-usage-stats",
            "--dashboard-agent-listen-port=0",
        ]
        with Path(self.folder, "ray.log").open("wb") as output:
            self._process = subprocess.Popen(
                command, env=self.environment, cwd=self.home, stdout=output, stderr=output, start_new_session=True
            )
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def run(self, command: Sequence[str]) -> None:
        """Run a command against this cluster, its output shown.

        Raises:
            Llm4RecError: it failed.
        """
        done = subprocess.run(command, env=self.environment, cwd=self.home, check=False)
        if done.returncode:
            raise Llm4RecError(f"failed with exit status {done.returncode}: {' '.join(command)}; its output is above")

    def submit(self, entrypoint: Sequence[str]) -> None:
        """Submit a job and follow its output to the end.

        Raises:
            Llm4RecError: the job failed.
        """
        self.run(self.submission(entrypoint))

    def submission(self, entrypoint: Sequence[str]) -> list[str]:
        """The command that submits a job to this cluster."""
        submit = ["ray", "job", "submit", "--address", self.address, "--runtime-env", "runtime_env.yaml", "--"]
        # Ray would let the job join whatever cluster was started last on this machine (2.60, JobSupervisor).
        return [*submit, "env", f"RAY_ADDRESS={LOOPBACK}:{self.gcs_port}", *entrypoint]

    def deploy_failure(self, app: str) -> str | None:
        """Why Serve has given up deploying an app; None if it has not, or gives no answer that can be read."""
        try:
            answer = json.loads(self._ask("/api/serve/applications/")[1])
        except (OSError, HTTPException, ValueError):
            return None
        return failure_of(answer.get("applications", {}), app) if isinstance(answer, dict) else None

    def processes(self) -> list[psutil.Process]:
        """All running processes of this cluster: those with its mark, and what its head has started.

        Ray's agents overwrite their environment with a title, so the mark alone would miss them.
        """
        found = []
        if self._process is not None and self._process.poll() is None:
            found = psutil.Process(self._process.pid).children(recursive=True)
        for process in psutil.process_iter():
            try:
                if process in found or process.pid == os.getpid():
                    continue
                if process.environ().get(MARK) == self.mark:
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found

    def stop(self) -> None:
        """End every process of the cluster: asked first, then killed. Another Ctrl-C does not cut this short."""
        previous = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            self._end_processes()
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _end_processes(self) -> None:
        known = self.processes()  # before the head ends: later its children cannot be told from others
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        _, left = psutil.wait_procs(known, timeout=STOP_SECONDS)
        left += [process for process in self.processes() if process not in left]
        for process in left:
            try:
                process.kill()
            except psutil.Error:
                continue
        psutil.wait_procs(left, timeout=10)
        if self._process is not None:
            self._process.wait()

    def _write_token(self) -> None:
        path = self.folder / "token"
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), "w") as token:
            token.write(self._token)

    def _wait(self) -> None:
        """Wait until jobs can be submitted."""
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while self._process.poll() is not None or not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                lines = Path(self.folder, "ray.log").read_text(errors="replace").strip().splitlines()
                reason = " ".join(lines[-3:]) if lines else "no output"
                raise Llm4RecError(f"Ray did not start ({reason}); see {self.folder / 'ray.log'}")
            time.sleep(0.5)

    def _answers(self) -> bool:
        try:
            # a first job that does nothing: the dashboard answers some seconds before it can place jobs
            return self._ask("/api/jobs/", b'{"entrypoint": "true"}')[0] == 200
        except (OSError, HTTPException):
            return False

    def _ask(self, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """What the dashboard answers: a status below 400 and the body."""
        headers = {"Authorization": f"Bearer {self._token}", "content-type": "application/json"}
        with DIRECT.open(urllib.request.Request(self.address + path, body, headers), timeout=30) as answer:
            return answer.status, answer.read()


def require_free(port: int) -> None:
    """Make sure that what will answer on a port is what we are about to start.

    Raises:
        Llm4RecError: something listens there already.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise Llm4RecError(
                f"port {port} on {LOOPBACK} is taken ({error.strerror}); end what listens there, for example "
                "another demo, and try again"
            ) from None

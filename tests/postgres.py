"""A PostgreSQL server of one's own, for tests and benchmarks: really started, stopped and killed."""

import glob
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import psycopg

ACCOUNT = "postgres"  # the server refuses to run as root


class Postgres:
    """A server on loopback, or in a network of one's own, with an empty database; its files are in one folder."""

    def __init__(self, folder: Path, host: str = "127.0.0.1") -> None:
        self._folder, self._host = folder, host
        self._databases = 0
        self._as: dict[str, Any] = {"user": ACCOUNT, "group": ACCOUNT} if os.geteuid() == 0 else {}
        with socket.socket() as probe:
            probe.bind((host, 0))
            self._port = int(probe.getsockname()[1])
        folder.mkdir(parents=True, exist_ok=True)
        if self._as:
            shutil.chown(folder, ACCOUNT, ACCOUNT)
        self._run("initdb", "-D", str(folder / "data"), "-U", ACCOUNT, "-A", "trust", "-E", "UTF8", "--locale=C")
        with (folder / "data" / "pg_hba.conf").open("a", encoding="utf-8") as access:
            access.write(f"host all all {host}/24 trust\n")

    def new_database(self) -> str:
        """SQLAlchemy's URL of a new, empty database."""
        self._databases += 1
        name = f"log{self._databases}"
        with psycopg.connect(
            f"host={self._host} port={self._port} user={ACCOUNT} dbname=postgres", autocommit=True
        ) as to:
            to.execute(f"CREATE DATABASE {name}")
        return f"postgresql://{ACCOUNT}@{self._host}:{self._port}/{name}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = f"-p {self._port} -c listen_addresses={self._host} -c unix_socket_directories="
        self._control("-o", options, "-l", str(self._folder / "output"), "-w", "start")

    def stop(self) -> None:
        """End it as one would before an upgrade: open connections are cut."""
        self._control("-m", "fast", "-w", "stop")

    def kill(self) -> None:
        """End it with -9, its children too."""
        pid = int((self._folder / "data" / "postmaster.pid").read_text().split()[0])
        children = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
        for each in [pid, *map(int, children.stdout.split())]:
            os.kill(each, signal.SIGKILL)
        self._control("-w", "stop", check=False)

    def _control(self, *arguments: str, check: bool = True) -> None:
        self._run("pg_ctl", "-D", str(self._folder / "data"), *arguments, check=check)

    def _run(self, program: str, *arguments: str, check: bool = True) -> None:
        command = [str(programs() / program), *arguments]
        done = subprocess.run(  # a file, not a pipe: the server keeps its output open
            command, cwd=self._folder, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **self._as
        )
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed with {done.returncode}")


def programs() -> Path:
    """The folder of the server's programs."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))
    if path := found[-1] if found else shutil.which("initdb"):
        return Path(path).parent
    raise FileNotFoundError("PostgreSQL is not installed: apt-get install postgresql")

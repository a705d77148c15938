"""The command line that every job shares: `--config FILE`, any number of `--set a.b=value`, `--home DIR`."""

import argparse
import logging
import re
import sys
from importlib import import_module

from llm4rec.cluster.run_config import load_run
from llm4rec.cluster.session import connect
from llm4rec.cluster.stage import open_store
from llm4rec.errors import Llm4RecError

EXIT_BAD_INPUT = 2


def main(stage: str, description: str | None) -> None:
    """Parse the command line, join or start Ray, and run one stage, or `pipeline` for all.

    Bad input ends with one clear line and exit status 2; nothing is written before the configuration is valid.
    """
    arguments = job_parser(description).parse_args()
    show_progress()
    try:
        config = load_run(arguments.config, arguments.set, arguments.home)
        connect()
        # only now: the stages import Ray, which reads the environment that `connect` sets when it is imported
        import_module(f"llm4rec.cluster.{stage}").run(open_store(config), config)
    except Exception as error:
        message = user_message(error)
        if message is None:
            raise
        print(f"error: {message}", file=sys.stderr, flush=True)
        sys.exit(EXIT_BAD_INPUT)


def job_parser(description: str | None) -> argparse.ArgumentParser:
    """What every job's command line has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="YAML file, see configs/")
    parser.add_argument("--set", action="append", default=[], metavar="a.b=value", help="override a setting")
    parser.add_argument("--home", help="folder that relative paths in the config start from (needed in a Ray job)")
    return parser


def show_progress() -> None:
    """Let our own lines through, and of others warnings only."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stdout)
    logging.getLogger("llm4rec").setLevel(logging.INFO)


RETRY_NOTE = re.compile(r"\nFailed to .* after \d+/\d+ attempts .*", re.DOTALL)
"""What Ray Data appends to the message of an error in a task."""


def user_message(error: BaseException | None) -> str | None:
    """The message of the user's error behind an exception, also one raised in a Ray worker; None if there is none."""
    seen: set[int] = set()
    queue = [error]
    while queue:
        current = queue.pop(0)
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        if isinstance(current, Llm4RecError) and not hasattr(current, "as_instanceof_cause"):
            return RETRY_NOTE.sub("", str(current))
        failures = getattr(current, "worker_failures", {})
        queue += [getattr(current, "cause", None), current.__cause__, current.__context__, *failures.values()]
    return None

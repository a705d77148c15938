"""demo: raw files in (as it stands MovieLens), an explained recommendation out over HTTP.

Starts a Ray on loopback, runs the pipeline through `ray job submit`, deploys the app, shows what it answers, and
serves until Ctrl-C (with --once: checks itself over HTTP and ends). No process is left behind.

    python jobs/demo.py --config configs/demo.yaml [--once] [--set a.b=value ...]
"""

import argparse
import signal
import sys
from pathlib import Path

from llm4rec.cluster.demo import demo
from llm4rec.errors import Llm4RecError


def main() -> int:
    """Run the demo; 0 when it ended as wished, Ctrl-C while it serves included, and 2 when a step failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/demo.yaml", help="YAML file, see configs/; default: %(default)s")
    parser.add_argument("--set", action="append", default=[], metavar="a.b=value", help="override a setting")
    parser.add_argument("--once", action="store_true", help="check the app over HTTP and end")
    arguments = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        demo(Path.cwd(), arguments.config, arguments.set, once=arguments.once)
    except Llm4RecError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 2
    except KeyboardInterrupt:
        print("stopped", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

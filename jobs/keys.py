"""API keys of the service: make, list and revoke; only hashes are kept.

    python jobs/keys.py --file keys.json --create shop --scopes read write    # prints the key, once
    python jobs/keys.py --file keys.json --create tests --scopes read --days 30
    python jobs/keys.py --file keys.json --list
    python jobs/keys.py --file keys.json --revoke shop

The service is told of the file by `serve.keys`, and takes notice of changes within a second. To rotate a key, create
another one under a new name, give it out, and revoke the old one.
"""

import argparse
import time
from pathlib import Path

from llm4rec.errors import told_in_one_line
from llm4rec.serve.keys import SCOPES, create_key, read_keys, revoke_key


def main() -> None:
    """Make, list or revoke."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", type=Path, required=True, help="where hashes of keys are kept")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--create", metavar="NAME", help="make a key")
    what.add_argument("--revoke", metavar="NAME", help="make a key count no more")
    what.add_argument("--list", action="store_true", help="show names, scopes and ends")
    parser.add_argument("--scopes", nargs="+", choices=SCOPES, default=["read"], help="what the new key may do")
    parser.add_argument("--days", type=int, help="after how many days the new key counts no more")
    options = parser.parse_args()
    with told_in_one_line():
        if options.create:
            print(create_key(options.file, options.create, options.scopes, options.days))
        elif options.revoke:
            revoke_key(options.file, options.revoke)
        else:
            for key in read_keys(options.file):
                ends = "" if key.expires is None else time.strftime("  until %F %T", time.localtime(key.expires))
                print(f"{key.name}  {' '.join(key.scopes)}{ends}")


if __name__ == "__main__":
    main()

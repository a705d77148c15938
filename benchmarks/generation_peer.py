"""The peer of generation.py, in an environment of its own: llama.cpp through llama-cpp-python.

    PEERS/bin/python benchmarks/generation_peer.py MODEL.gguf THREADS    # see generation.py, which calls it

Reads a line of JSON with `tokens` and `new`, writes one with `first` and `seconds`. Nothing of LLM4Rec is imported.
"""

import itertools
import json
import sys
import time

from llama_cpp import Llama


def main() -> None:
    """Answer until there are no more lines."""
    threads = int(sys.argv[2])
    model = Llama(sys.argv[1], n_ctx=1024, n_threads=threads, n_threads_batch=threads, verbose=False)
    for line in sys.stdin:
        asked = json.loads(line)
        model.reset()
        started = time.perf_counter()
        written = model.generate(asked["tokens"], temp=0.0)
        next(written)
        first = time.perf_counter() - started
        count = 1 + sum(1 for _ in itertools.islice(written, asked["new"] - 1))
        assert count == asked["new"], count
        print(json.dumps({"first": first, "seconds": time.perf_counter() - started}), flush=True)


if __name__ == "__main__":
    main()

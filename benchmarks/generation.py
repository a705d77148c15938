"""Speed of the engine that writes reasons on CPUs, beside plain `generate` of transformers and llama.cpp.

    python -m venv PEERS
    PEERS/bin/pip install llama-cpp-python==0.3.36    # compiles for minutes
    python benchmarks/generation.py --peers PEERS     # writes benchmarks/results/generation.json, some minutes

Prompts of 300 tokens by chance, different from the first one on, so that nothing read for one helps another; 40 new
tokens each, greedy, no end before. All have the same two threads, one after another in every round, and the packaged
model: OpenVINO and llama.cpp read the same GGUF file, transformers has its weights in float32. The file is the
packaged one, of four bits, and for `eight bits` one that fine-tuning has written, with adapters by chance. Tokens a
second count new tokens; their time includes reading the prompt. `eight` are eight requests at once for ours; the
others take them one by one. `shared` are single requests whose first 200 tokens have been read before, as those of one
service have; p50 and p95 are theirs. Figures are medians over rounds, ratios are of medians.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import openvino_genai as genai
import torch
from measure import HOME, store
from peft import LoraConfig, get_peft_model

from llm4rec.explain.config import ExplainConfig
from llm4rec.explain.continuous import ContinuousGenerator
from llm4rec.explain.gguf import gguf_of, write_gguf
from llm4rec.explain.prompt import Prompt
from llm4rec.explain.tune import FILES, PROJECTIONS, Adapter
from llm4rec.language_model import load_causal_lm

PROMPT, SHARED, NEW, AT_ONCE, THREADS = 300, 200, 40, 8, 2
CONFIG = ExplainConfig(max_new_tokens=NEW)
VOCABULARY = 49_152
FOREVER = 1e9


class Endless(ContinuousGenerator):
    """Ours, made to write on to the last token it may."""

    faults: ClassVar[list[str]] = []

    def _settings(self) -> genai.GenerationConfig:
        settings = super()._settings()
        settings.ignore_eos = True
        return settings

    def took(self, tokens: list[int]) -> tuple[float, float]:
        """Seconds to the first new token and to the last."""
        started = time.perf_counter()
        request = self._submit(Prompt((), "", ends_itself=True), FOREVER, tokens)
        request.pieces.get()
        first = time.perf_counter() - started
        request.done.wait()
        seconds = time.perf_counter() - started
        if len(request.written) != NEW:
            self.faults.append(f"{len(request.written)} new tokens, not {NEW}")
        return first, seconds

    def took_at_once(self, prompts: list[list[int]]) -> float:
        """Seconds until the last of several that come at the same moment."""
        started = time.perf_counter()
        threads = [threading.Thread(target=self.took, args=(tokens,)) for tokens in prompts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - started


def main() -> None:
    """Run the three side by side and store what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, required=True, help="folder of the peers' virtual environment")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    began = time.monotonic()
    torch.set_num_threads(THREADS)
    packed = gguf_of(CONFIG.generator, "explain.generator")
    assert packed is not None
    plain = generate(load_causal_lm(CONFIG.generator, "explain.generator", torch.float32).eval())
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        tuned = Path(folder, "tuned.gguf")
        write_gguf(packed, adapter_by_chance(), tuned)
        ours = {4: Endless(CONFIG, packed, THREADS), 8: Endless(CONFIG, tuned, THREADS)}
        with peer(options.peers, packed) as four, peer(options.peers, tuned) as eight:
            llama = {4: ask(four), 8: ask(eight)}
            rounds = [one_round(ours, plain, llama, rng) for _ in range(options.rounds + 1)][1:]  # the first warms up
            for process in (four, eight):
                assert process.stdin is not None
                process.stdin.close()
    if Endless.faults:
        sys.exit(f"error: {Endless.faults}")
    store("generation", figures(rounds), time.monotonic() - began)


def peer(environment: Path, weights: Path) -> "subprocess.Popen[str]":
    """llama.cpp with these weights."""
    command = [environment / "bin" / "python", HOME / "benchmarks" / "generation_peer.py", weights, str(THREADS)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def adapter_by_chance() -> Adapter:
    """Adapters on every projection, as small as learnt ones; speed does not depend on what they hold."""
    model = load_causal_lm(CONFIG.generator, "explain.generator", torch.bfloat16)
    adapted = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=list(PROJECTIONS)))
    with tempfile.TemporaryDirectory() as folder:
        adapted.save_pretrained(folder)
        return Adapter({name: Path(folder, name).read_bytes() for name in FILES})


def one_round(
    ours: dict[int, Endless], plain: "Took", llama: "dict[int, Took]", rng: np.random.Generator
) -> dict[str, list[float]]:
    """Seconds of each engine, in an order that changes from round to round."""
    single, eight = prompt(rng), [prompt(rng) for _ in range(AT_ONCE)]
    start = prompt(rng)[:SHARED]
    shared = [[*start, *prompt(rng)[SHARED:]] for _ in range(AT_ONCE + 1)]
    found: dict[str, list[float]] = {}

    def measure_ours() -> None:
        found["ours first"], found["ours"] = ([value] for value in ours[4].took(single))
        found["ours eight"] = [ours[4].took_at_once(eight)]
        ours[4].took(shared[0])
        took = [ours[4].took(tokens) for tokens in shared[1:]]
        found["ours shared first"], found["ours shared"] = [f for f, _ in took], [s for _, s in took]

    def measure_ours_of_eight_bits() -> None:
        found["ours eight bits"] = [ours[8].took(single)[1]]

    def measure_plain() -> None:
        found["plain"] = [plain(single)[1]]
        found["plain eight"] = [sum(plain(tokens)[1] for tokens in eight)]

    def measure_llama() -> None:
        found["llama first"], found["llama"] = ([value] for value in llama[4](single))
        found["llama eight"] = [sum(llama[4](tokens)[1] for tokens in eight)]
        found["llama eight bits"] = [llama[8](single)[1]]

    works = [measure_ours, measure_ours_of_eight_bits, measure_plain, measure_llama]
    for place in rng.permutation(len(works)):
        works[place]()
    print({name: round(float(np.median(values)), 3) for name, values in found.items()}, flush=True)
    return found


Took = Callable[[list[int]], tuple[float, float]]


def generate(model: Any) -> Took:
    """Plain `generate`; no time to the first token."""

    def took(tokens: list[int]) -> tuple[float, float]:
        inputs = torch.tensor([tokens])
        started = time.perf_counter()
        with torch.inference_mode():
            model.generate(
                inputs,
                attention_mask=torch.ones_like(inputs),
                do_sample=False,
                min_new_tokens=NEW,
                max_new_tokens=NEW,
                pad_token_id=0,
            )
        return float("nan"), time.perf_counter() - started

    return took


def ask(peer: "subprocess.Popen[str]") -> Took:
    """llama.cpp, in its own environment."""

    def took(tokens: list[int]) -> tuple[float, float]:
        assert peer.stdin is not None and peer.stdout is not None
        peer.stdin.write(json.dumps({"tokens": tokens, "new": NEW}) + "\n")
        peer.stdin.flush()
        line = peer.stdout.readline()
        if not line:
            sys.exit("error: the peer has ended; see its message above")
        answer = json.loads(line)
        return answer["first"], answer["seconds"]

    return took


def prompt(rng: np.random.Generator) -> list[int]:
    """A prompt of tokens by chance, none of them a special one."""
    return [int(token) for token in rng.integers(100, VOCABULARY, PROMPT)]


def figures(rounds: list[dict[str, list[float]]]) -> dict[str, Any]:
    """Medians over all rounds, and their ratios."""
    every = {name: np.array([value for found in rounds for value in found[name]]) for name in rounds[0]}
    median = {name: float(np.median(values)) for name, values in every.items()}
    one = ("ours", "plain", "llama", "ours shared", "ours eight bits", "llama eight bits")
    rate = {name: NEW / median[name] for name in one}
    rate |= {f"{name} eight": AT_ONCE * NEW / median[f"{name} eight"] for name in ("ours", "plain", "llama")}
    return {
        "speedup_over_generate": round(rate["ours"] / rate["plain"], 3),
        "speedup_over_generate_eight": round(rate["ours eight"] / rate["plain eight"], 3),
        "ratio_to_llama_cpp": round(rate["ours"] / rate["llama"], 3),
        "speedup_over_generate_eight_bits": round(rate["ours eight bits"] / rate["plain"], 3),
        "ratio_to_llama_cpp_eight_bits": round(rate["ours eight bits"] / rate["llama eight bits"], 3),
        "ratio_to_llama_cpp_eight": round(rate["ours eight"] / rate["llama eight"], 3),
        "ttft_ms": round(1000 * median["ours first"]),
        "ttft_shared_ms": round(1000 * median["ours shared first"]),
        "llama_cpp_ttft_ms": round(1000 * median["llama first"]),
        "p50_ms": round(1000 * median["ours shared"]),
        "p95_ms": round(1000 * float(np.quantile(every["ours shared"], 0.95))),
        "tokens_per_second": {name: round(value, 1) for name, value in rate.items()},
        "rounds": len(rounds),
    }


if __name__ == "__main__":
    main()

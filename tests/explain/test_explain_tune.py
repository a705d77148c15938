"""Fine-tuning: a very small Llama learns to say what it is taught, and adapters are merged where they belong."""

import json
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader
from gguf.quants import dequantize
from safetensors.numpy import load, save

from llm4rec.artifacts import RunStore
from llm4rec.errors import ArtifactError, ConfigError
from llm4rec.explain.config import ExplainConfig, TuneConfig
from llm4rec.explain.engine import load_generator
from llm4rec.explain.generate import Generator
from llm4rec.explain.gguf import gguf_of, write_gguf
from llm4rec.explain.grounds import Grounds
from llm4rec.explain.prompt import build_tuned_prompt
from llm4rec.explain.tune import PROJECTIONS, Adapter, Example, tune
from llm4rec.language_model import load_causal_lm
from llm4rec.weights import SMOLLM2
from tests.explain.tiny_llama import save_tiny_llama, soon

EXAMPLES = [Example(build_tuned_prompt(Grounds(str(n), "it")), "you may like it .") for n in range(16)]
CONFIG = TuneConfig(examples=16, epochs=12, batch_size=4, rank=4, learning_rate=2e-2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_llama(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def taught(folder: Path) -> tuple[Adapter, list[str]]:
    lines: list[str] = []
    return tune(str(folder), EXAMPLES, CONFIG, 0, lines.append), lines


def test_what_is_taught_is_written(folder: Path, taught: tuple[Adapter, list[str]]) -> None:
    config = ExplainConfig(generator=str(folder), precision="fp32", max_new_tokens=8)
    prompt = EXAMPLES[0].prompt
    taught_text = f"{prompt.opening} you may like it ."
    assert Generator(config).write([prompt], soon()) != [taught_text]
    assert Generator(config, taught[0]).write([prompt], soon()) == [taught_text]


def test_the_loss_falls_and_progress_is_told(taught: tuple[Adapter, list[str]]) -> None:
    losses = [float(line.rsplit(" ", 1)[1]) for line in taught[1]]
    assert "step 48/48" in taught[1][-1]
    assert losses[-1] < 0.5 * losses[0]


def test_the_same_seed_learns_the_same(folder: Path, taught: tuple[Adapter, list[str]]) -> None:
    again = tune(str(folder), EXAMPLES, CONFIG, 0, lambda line: None)
    assert again.files["adapter_model.safetensors"] == taught[0].files["adapter_model.safetensors"]


def test_a_loss_that_is_not_finite_stops_at_once(folder: Path) -> None:
    wild = CONFIG.model_copy(update={"learning_rate": 1e30})
    with pytest.raises(FloatingPointError, match="lower explain.tune.learning_rate"):
        tune(str(folder), EXAMPLES, wild, 0, lambda line: None)


def test_adapters_survive_an_artifact(tmp_path: Path, taught: tuple[Adapter, list[str]]) -> None:
    store = RunStore(str(tmp_path))
    with store.write("index", {}) as writer:
        taught[0].write(writer)
    assert Adapter.read(store.open("index")) == taught[0]
    with store.write("other", {}):
        pass
    with pytest.raises(ArtifactError, match="explainer/adapter"):
        Adapter.read(store.open("other"))


def test_an_engine_that_cannot_read_the_model_says_so(folder: Path) -> None:
    with pytest.raises(ConfigError, match="openvino, which reads the packaged model alone"):
        load_generator(ExplainConfig(generator=str(folder), engine="openvino"), None, threads=1)
    assert isinstance(load_generator(ExplainConfig(generator=str(folder)), None, threads=1), Generator)


def test_adapters_merged_into_a_gguf_file_are_those_merged_by_peft(tmp_path: Path) -> None:
    """The packaged model with random adapters on its first layer, through both ways."""
    packed = gguf_of(SMOLLM2, "explain.generator")
    assert packed is not None
    adapter = _random_adapter()
    write_gguf(packed, adapter, tmp_path / "merged.gguf")
    model = load_causal_lm(SMOLLM2, "explain.generator")
    layer = model.get_submodule("model.layers.0")
    plain = {name: weight.detach().clone().numpy() for name, weight in layer.named_parameters()}
    adapter.on(model).merge_and_unload()
    merged = _read_layer(tmp_path / "merged.gguf")
    for name, matrix in merged.items():
        wanted = layer.get_submodule(name).weight.detach().numpy()
        step = np.abs(wanted).max() / 127  # of eight bits
        assert np.abs(matrix - wanted).max() <= step, name
        assert np.abs(wanted - plain[f"{name}.weight"]).max() > 10 * step, "far more than rounding does"


def test_adapters_of_another_model_are_refused(tmp_path: Path, taught: tuple[Adapter, list[str]]) -> None:
    packed = gguf_of(SMOLLM2, "explain.generator")
    assert packed is not None
    factors = {
        name.replace("layers.", "blocks."): value
        for name, value in load(taught[0].files["adapter_model.safetensors"]).items()
    }
    other = Adapter({**taught[0].files, "adapter_model.safetensors": save(factors)})
    with pytest.raises(ArtifactError, match=r"14 of 14 adapters fit no matrix .* run jobs/index.py again"):
        write_gguf(packed, other, tmp_path / "merged.gguf")


def _random_adapter() -> Adapter:
    rng = np.random.default_rng(0)
    sizes = {"q_proj": (576, 576), "k_proj": (192, 576), "v_proj": (192, 576), "o_proj": (576, 576)}
    sizes |= {"gate_proj": (1536, 576), "up_proj": (1536, 576), "down_proj": (576, 1536)}
    factors = {}
    for name, (outputs, inputs) in sizes.items():
        part = "self_attn" if name[0] in "qkvo" else "mlp"
        module = f"base_model.model.model.layers.0.{part}.{name}"
        factors[f"{module}.lora_A.weight"] = rng.normal(size=(4, inputs)).astype(np.float32)
        factors[f"{module}.lora_B.weight"] = 0.1 * rng.normal(size=(outputs, 4)).astype(np.float32)
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": list(PROJECTIONS)}
    config |= {"task_type": None, "bias": "none", "layers_to_transform": [0]}
    return Adapter({"adapter_config.json": json.dumps(config).encode(), "adapter_model.safetensors": save(factors)})


def _read_layer(path: Path) -> dict[str, np.ndarray]:
    """The first layer's matrices of a GGUF file, in the order of rows that transformers keeps."""
    names = {"attn_q": ("self_attn.q_proj", 9), "attn_k": ("self_attn.k_proj", 3)}
    names |= {"attn_v": ("self_attn.v_proj", 0), "attn_output": ("self_attn.o_proj", 0)}
    names |= {f"ffn_{part}": (f"mlp.{part}_proj", 0) for part in ("gate", "up", "down")}
    found = {}
    for tensor in GGUFReader(path).tensors:
        parts = tensor.name.split(".")
        if parts[:2] != ["blk", "0"] or parts[2] not in names:
            continue
        name, heads = names[parts[2]]
        matrix = dequantize(tensor.data, tensor.tensor_type)
        if heads:  # rotary pairs lie side by side in the file: apart again
            pairs = matrix.reshape(heads, len(matrix) // heads // 2, 2, -1)
            matrix = pairs.swapaxes(1, 2).reshape(matrix.shape)
        found[name] = matrix
    assert len(found) == len(PROJECTIONS)
    return found


def test_what_peft_saved_holds_every_projection(taught: tuple[Adapter, list[str]]) -> None:
    names = load(taught[0].files["adapter_model.safetensors"])
    assert {name.split(".")[-3] for name in names} == set(PROJECTIONS)
    assert taught[0].scale == 2.0

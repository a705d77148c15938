"""The packaged model as a GGUF file with adapters merged in, for engines that read such files."""

from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, LlamaFileType
from gguf.quants import dequantize, quantize
from safetensors.numpy import load

from llm4rec.errors import ArtifactError
from llm4rec.explain.tune import Adapter
from llm4rec.weights import language_model

MERGED = GGMLQuantizationType.Q8_0
"""Eight bits: a step of four would be coarser than most of what adapters change."""
_NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def gguf_of(generator: str, setting: str) -> Path | None:
    """The GGUF file of a model, None where it is kept in another form."""
    folder, name = language_model(generator, setting)
    return Path(folder, name) if name else None


def write_gguf(source: Path, adapter: Adapter, target: Path) -> None:
    """Write a copy of a GGUF file of a Llama, with adapters merged into the matrices they belong to.

    Args:
        source: a GGUF file.
        adapter: what is merged.
        target: is written.

    Raises:
        ArtifactError: the adapters belong to another model.
    """
    reader = GGUFReader(source)
    writer = GGUFWriter(target, "llama")
    _copy_fields(reader, writer)
    merged = 0
    factors = load(adapter.files["adapter_model.safetensors"])
    heads = {
        "attn_q": _number(reader, "llama.attention.head_count"),
        "attn_k": _number(reader, "llama.attention.head_count_kv"),
    }
    for tensor in reader.tensors:
        change = _change(tensor.name, factors, heads)
        merged += change is not None
        if change is None:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
            continue
        sum_of_both = dequantize(tensor.data, tensor.tensor_type) + adapter.scale * change
        writer.add_tensor(tensor.name, quantize(sum_of_both.astype(np.float32), MERGED), raw_dtype=MERGED)
    if 2 * merged != len(factors):
        raise ArtifactError(
            f"{len(factors) // 2 - merged} of {len(factors) // 2} adapters fit no matrix of {source.name}: they were "
            "learnt for another model; run jobs/index.py again"
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _copy_fields(reader: GGUFReader, writer: GGUFWriter) -> None:
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type"):  # the writer's own
            continue
        kind = field.types[0]
        inner = field.types[-1] if kind == GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), kind, sub_type=inner)
    writer.add_file_type(LlamaFileType.MOSTLY_Q8_0)


def _change(name: str, factors: dict[str, np.ndarray], heads: dict[str, int]) -> np.ndarray | None:
    """What adapters add to a matrix, shape (outputs, inputs), before scaling; None where they add nothing."""
    parts = name.split(".")  # blk.7.attn_q.weight
    if len(parts) != 4 or parts[2] not in _NAMES:
        return None
    module = f"base_model.model.model.layers.{parts[1]}.{_NAMES[parts[2]]}"
    down = factors.get(f"{module}.lora_A.weight")
    if down is None:
        return None
    product: np.ndarray = factors[f"{module}.lora_B.weight"].astype(np.float32) @ down.astype(np.float32)
    return _interleaved(product, heads[parts[2]]) if parts[2] in heads else product


def _interleaved(matrix: np.ndarray, heads: int) -> np.ndarray:
    """Rows in GGUF's order: rotary pairs lie side by side, where transformers keeps the halves of a head apart."""
    halves = matrix.reshape(heads, 2, matrix.shape[0] // heads // 2, matrix.shape[1])
    return halves.swapaxes(1, 2).reshape(matrix.shape)


def _number(reader: GGUFReader, name: str) -> int:
    field = reader.get_field(name)
    assert field is not None, name
    return int(field.contents())

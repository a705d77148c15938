"""The item tower: e_i = id_i + W h_fused(i). Shapes: I items, D width of item vectors, F fusion width."""

import numpy as np
import torch
from torch import Tensor, nn

from llm4rec.model.config import ModelConfig
from llm4rec.model.fusion import Fusion
from llm4rec.schema import Features


class ItemTower(nn.Module):
    """Item vectors of a whole catalogue from ids and fused content.

    Cold items (codes from `num_warm_items` on) have no id vector: content alone places them, so that they can be
    recommended at once.
    """

    def __init__(self, config: ModelConfig, widths: dict[str, int], num_warm_items: int) -> None:
        super().__init__()
        self.fusion = Fusion(widths, config.fusion_size, config.modality_dropout)
        self.content = nn.Linear(config.fusion_size, config.embedding_size)
        self.id_emb = nn.Embedding(num_warm_items, config.embedding_size)
        nn.init.normal_(self.id_emb.weight, std=config.id_scale / config.embedding_size**0.5)

    def forward(self, vectors: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        """Vectors of all I items, warm ones first, shape (I, D)."""
        content_ID = self.from_content(vectors, present)
        num_cold = content_ID.shape[0] - self.id_emb.num_embeddings
        return content_ID + nn.functional.pad(self.id_emb.weight, (0, 0, 0, num_cold))

    def from_content(self, vectors: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
        """Vectors from content alone, shape (I, D): what a new item gets."""
        fused_IF, _ = self.fusion(vectors, present)
        return self.content(fused_IF)


def feature_tensors(
    features: Features, dtype: torch.dtype = torch.float32
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Features as the tower reads them: vectors (I, D_m) and presence (I,), by modality."""
    vectors = {name: torch.from_numpy(np.ascontiguousarray(m.vectors)).to(dtype) for name, m in features.items()}
    present = {name: torch.from_numpy(np.ascontiguousarray(m.present)) for name, m in features.items()}
    return vectors, present

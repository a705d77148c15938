"""The item tower: e_i = id_i + W h_fused(i). Shapes: I items, D width of item vectors, M modalities, F fusion width."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from llm4rec.errors import ConfigError
from llm4rec.model.config import ModelConfig
from llm4rec.model.fusion import Fusion
from llm4rec.schema import Features

Tensors = Mapping[str, Tensor]


class ItemTower(nn.Module):
    """Item vectors of a whole catalogue from ids and fused content.

    Cold items (codes from `num_warm_items` on) have no id vector: content alone places them, so that they can be
    recommended at once. So are warm items placed that nobody had in the train split: nothing could be learnt of their
    ids but that they are not chosen. An item without any content has its id vector alone.

    Attributes:
        by_content_alone: the warm ones among these, shape (I_warm,), bool; None if there are none.
    """

    by_content_alone: Tensor | None

    def __init__(
        self,
        config: ModelConfig,
        widths: Mapping[str, int],
        frames: Mapping[str, int],
        *,
        num_items: int,
        num_warm_items: int,
        by_content_alone: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.num_items = num_items
        self.widths = dict(widths)
        self.id_dropout = config.id_dropout
        self.fusion = Fusion(widths, config.fusion_size, config.modality_dropout, frames) if widths else None
        # without a bias, which would be content that an item without content has
        self.content = nn.Linear(config.fusion_size, config.embedding_size, bias=False) if widths else None
        self.id_emb = nn.Embedding(num_warm_items, config.embedding_size)
        nn.init.normal_(self.id_emb.weight, std=config.id_scale / config.embedding_size**0.5)
        alone = None
        if by_content_alone:
            alone = torch.zeros(num_warm_items, dtype=torch.bool)
            alone[list(by_content_alone)] = True
            with torch.no_grad():
                self.id_emb.weight[alone] = 0
        self.register_buffer("by_content_alone", alone, persistent=False)

    def forward(self, vectors: Tensors, present: Tensors) -> Tensor:
        """Vectors of all I items, warm ones first, shape (I, D)."""
        content_ID = self.from_content(vectors, present, self.num_items)
        num_cold = self.num_items - self.id_emb.num_embeddings
        return content_ID + nn.functional.pad(self._ids(present), (0, 0, 0, num_cold))

    def _ids(self, present: Tensors) -> Tensor:
        """Id vectors of the warm items, shape (I_warm, D); in training those of some items with content are zero.

        What only known items have is dropped so that content learns to stand in for it (Volkovs et al., DropoutNet).
        """
        weight = self.id_emb.weight
        if self.by_content_alone is not None:  # zero they are; as evidence of others they would learn
            weight = weight.masked_fill(self.by_content_alone[:, None], 0)
        if not self.training or self.id_dropout == 0 or not self.widths:
            return weight
        has_content = torch.stack([present[name] for name in self.widths]).any(0)[: len(weight)]
        hidden = has_content & (torch.rand(len(weight), device=weight.device) < self.id_dropout)
        return torch.where(hidden[:, None], 0, weight)

    def from_content(self, vectors: Tensors, present: Tensors, num_items: int) -> Tensor:
        """Vectors from content alone, shape (I, D): what a new item gets.

        Args:
            vectors: by modality, shape (I, D_m); items have none of a modality that is not named here.
            present: by modality, shape (I,), bool.
            num_items: I.
        """
        weight = self.id_emb.weight
        if self.fusion is None or self.content is None:
            return weight.new_zeros(num_items, weight.shape[1])
        nothing = torch.zeros(num_items, dtype=torch.bool, device=weight.device)
        filled = {n: vectors[n] if n in vectors else weight.new_zeros(num_items, w) for n, w in self.widths.items()}
        fused_IF, _ = self.fusion(filled, {name: present.get(name, nothing) for name in self.widths})
        return self.content(fused_IF)


def chosen_features(features: Features, config: ModelConfig) -> Features:
    """The modalities that the network reads: all, or those of `config.modalities`.

    Raises:
        ConfigError: one of them is not among the features.
    """
    if config.modalities is None:
        return features
    if unknown := sorted(set(config.modalities) - set(features)):
        raise ConfigError(
            f"train.model.modalities: no features of {', '.join(map(repr, unknown))}; "
            f"the encode stage made {', '.join(sorted(features)) or 'none'}"
        )
    return {name: features[name] for name in sorted(set(config.modalities))}


def feature_tensors(
    features: Features, dtype: torch.dtype = torch.float32
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Features as the tower reads them: vectors (I, D_m) and presence (I,), by modality."""
    vectors = {name: torch.from_numpy(np.ascontiguousarray(m.vectors)).to(dtype) for name, m in features.items()}
    present = {name: torch.from_numpy(np.ascontiguousarray(m.present)) for name, m in features.items()}
    return vectors, present

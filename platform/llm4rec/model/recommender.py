"""The whole network: item tower, user tower, one score.

Score: h_u . e_i / tau, both normalised. Shapes: B users, L history, T = L + 1, I items, D width, K retrieved items.
"""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from llm4rec.model.backbone import load_backbone
from llm4rec.model.config import ModelConfig
from llm4rec.model.inputs import AttributeCodec, HistoryBatch, HistoryCodec, IntMatrix
from llm4rec.model.items import ItemTower, feature_tensors
from llm4rec.model.users import UserTower
from llm4rec.schema import Features


@dataclass(frozen=True)
class Shape:
    """What the corpus fixes about the network; stored with the weights."""

    num_warm_items: int
    widths: dict[str, int]
    attributes: AttributeCodec
    history: HistoryCodec

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, object]) -> "Shape":
        """From plain values."""
        attributes, history = AttributeCodec(**values["attributes"]), HistoryCodec(**values["history"])  # type: ignore[arg-type]
        return cls(values["num_warm_items"], values["widths"], attributes, history)  # type: ignore[arg-type]


class Recommender(nn.Module):
    """The trainable recommender over one catalogue, whose content vectors it holds as buffers."""

    def __init__(self, config: ModelConfig, shape: Shape, features: Features, *, with_weights: bool = True) -> None:
        super().__init__()
        self.config = config
        self.shape = shape
        self.items = ItemTower(config, shape.widths, shape.num_warm_items)
        self.users = UserTower(
            config,
            load_backbone(config, with_weights=with_weights),
            num_events=shape.history.num_events,
            num_values=shape.history.num_values,
            attribute_sizes=shape.attributes.sizes,
        )
        vectors, present = feature_tensors(features)
        for name in sorted(shape.widths):
            self.register_buffer(f"content_{name}", vectors[name], persistent=False)
            self.register_buffer(f"present_{name}", present[name], persistent=False)
        self.retrieved: Tensor
        neighbours = nearest(vectors["text"], present["text"], config.num_retrieved)
        self.register_buffer("retrieved", neighbours, persistent=False)

    def item_vectors(self) -> Tensor:
        """Vectors of the whole catalogue, of unit length, shape (I, D)."""
        dtype = self.items.id_emb.weight.dtype  # DeepSpeed casts parameters, not these buffers
        vectors = {name: getattr(self, f"content_{name}").to(dtype) for name in self.shape.widths}
        present = {name: getattr(self, f"present_{name}") for name in self.shape.widths}
        return F.normalize(self.items(vectors, present), dim=-1)

    def user_states(self, item_ID: Tensor, history: HistoryBatch, attributes: IntMatrix) -> Tensor:
        """User states after 0..L items, of unit length, shape (B, T, D); positions past a history's end are noise."""
        device = item_ID.device
        item, event, value, gap = (
            torch.from_numpy(a).to(device) for a in (history.item, history.event, history.value, history.gap)
        )
        code_BL = item.clamp(min=0)
        item_BLD = item_ID[code_BL]
        evidence_BLD = self._evidence(item_ID)[code_BL]
        states = self.users(item_BLD, evidence_BLD, event, value, gap, torch.from_numpy(attributes).to(device))
        return F.normalize(states, dim=-1)

    def _evidence(self, item_ID: Tensor) -> Tensor:
        """What retrieval adds to each item: the mean vector of its nearest texts, shape (I, D)."""
        return item_ID[self.retrieved].mean(dim=1) if self.config.num_retrieved else torch.zeros_like(item_ID)

    def forward(self, history: HistoryBatch, attributes: IntMatrix) -> Tensor:
        """Scores of all warm items after 0..L history items, shape (B, T, I_warm)."""
        item_ID = self.item_vectors()
        states = self.user_states(item_ID, history, attributes)
        return states @ item_ID[: self.shape.num_warm_items].T / self.config.temperature


def nearest(vectors: Tensor, present: Tensor, count: int) -> Tensor:
    """Codes of each item's nearest other items by cosine, shape (I, K); ties go to the lower code.

    An item without text has no neighbours: it stands for itself.
    """
    unit = F.normalize(vectors.float(), dim=-1)
    cosine = unit @ unit.T
    cosine[:, ~present] = -2.0
    cosine.fill_diagonal_(-3.0)
    codes = cosine.sort(dim=1, descending=True, stable=True).indices[:, :count]
    return torch.where(present[:, None], codes, torch.arange(len(codes))[:, None]).contiguous()

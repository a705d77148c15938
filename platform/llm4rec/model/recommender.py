"""The whole network: item tower, user tower, one score.

Score: h_u . e_i / tau, both normalised. Shapes: B users, L history, T = L + 1, I items, D width, K retrieved items.
"""

from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from llm4rec.model.adversary import Adversary
from llm4rec.model.backbone import load_backbone
from llm4rec.model.config import ModelConfig
from llm4rec.model.inputs import AttributeCodec, HistoryBatch, HistoryCodec, IntMatrix
from llm4rec.model.items import ItemTower, chosen_features, feature_tensors
from llm4rec.model.outcome import OutcomeHead
from llm4rec.model.retrieval import retrieve
from llm4rec.model.users import UserTower
from llm4rec.schema import TRAIN, Corpus, Features


@dataclass(frozen=True)
class Shape:
    """What the corpus fixes about the network; stored with the weights.

    Attributes:
        num_items: size of the catalogue, cold items included.
        num_warm_items: items with an id vector.
        widths: D_m of each modality that is read.
        frames: of each modality that is a series of frames, how many.
        attributes: codes of user attributes.
        history: codes of histories.
        by_content_alone: codes of warm items with content that nobody had in the train split.
    """

    num_items: int
    num_warm_items: int
    widths: dict[str, int]
    frames: dict[str, int]
    attributes: AttributeCodec
    history: HistoryCodec
    by_content_alone: tuple[int, ...] = ()

    @classmethod
    def of(cls, corpus: Corpus, features: Features, config: ModelConfig) -> "Shape":
        """The shape that a corpus and its features give a network.

        Raises:
            ConfigError: `config.modalities` names what was not encoded.
        """
        chosen = chosen_features(features, config)
        content = [modality.present[: corpus.num_warm_items] for modality in chosen.values()]
        untrained = ~np.isin(np.arange(corpus.num_warm_items), corpus.part(TRAIN).item)
        return cls(
            num_items=corpus.num_items,
            num_warm_items=corpus.num_warm_items,
            widths={name: modality.width for name, modality in chosen.items()},
            frames={name: modality.shape[0] for name, modality in chosen.items() if modality.shape},
            attributes=AttributeCodec.fit(corpus.users),
            history=HistoryCodec.fit(corpus, corpus.part(TRAIN).value, config.history_length),
            by_content_alone=tuple(np.flatnonzero(untrained & np.any(content, axis=0)).tolist()) if content else (),
        )

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, object]) -> "Shape":
        """From plain values."""
        attributes, history = AttributeCodec(**values["attributes"]), HistoryCodec(**values["history"])  # type: ignore[arg-type]
        alone: tuple[int, ...] = tuple(values.get("by_content_alone", ()))  # type: ignore[arg-type]
        read = {"attributes": attributes, "history": history, "by_content_alone": alone}
        return cls(**{**values, **read})  # type: ignore[arg-type]


class Outputs(NamedTuple):
    """What one pass gives, after 0..L history items.

    Attributes:
        states: h_u, shape (B, T, D).
        items: e_i / tau of the warm items, shape (I_warm, D), in the type that scores are computed in.
        outcomes: log odds of a good outcome, shape (B, T, I_warm); None from a network that does not predict them.
    """

    states: Tensor
    items: Tensor
    outcomes: Tensor | None

    @property
    def scores(self) -> Tensor:
        """Of all warm items, h_u . e_i / tau, shape (B, T, I_warm)."""
        return self.states.to(self.items.dtype) @ self.items.T


class Recommender(nn.Module):
    """The trainable recommender over one catalogue, whose content vectors it holds as buffers."""

    def __init__(self, config: ModelConfig, shape: Shape, features: Features, *, with_weights: bool = True) -> None:
        super().__init__()
        self.config = config
        self.shape = shape
        self.items = ItemTower(
            config,
            shape.widths,
            shape.frames,
            num_items=shape.num_items,
            num_warm_items=shape.num_warm_items,
            by_content_alone=shape.by_content_alone,
        )
        self.users = UserTower(
            config,
            load_backbone(config, with_weights=with_weights),
            num_events=shape.history.num_events,
            num_values=shape.history.num_values,
            attribute_sizes=shape.attributes.sizes,
            hidden=shape.attributes.places(config.protected, "train.model.protected"),
        )
        self.outcome = OutcomeHead(config.embedding_size, shape.num_warm_items) if config.outcome else None
        sizes = dict(zip(shape.attributes.names, shape.attributes.sizes, strict=True))
        self.adversary = Adversary(config.embedding_size, {name: sizes[name] for name in config.protected})
        chosen = {name: features[name] for name in sorted(shape.widths)}
        vectors, present = feature_tensors(chosen)
        if self.items.fusion is not None:
            self.items.fusion.standardise(vectors, present)
        for name in chosen:
            self.register_buffer(f"content_{name}", vectors[name], persistent=False)
            self.register_buffer(f"present_{name}", present[name], persistent=False)
        self.retrieved: Tensor
        neighbours = retrieve(chosen, shape.num_items, config.num_retrieved)
        self.register_buffer("retrieved", neighbours, persistent=False)

    def item_vectors(self) -> Tensor:
        """Vectors of the whole catalogue, of unit length, shape (I, D)."""
        return F.normalize(self.items(*self._content()), dim=-1)

    def modality_weights(self) -> tuple[Tensor, Tensor]:
        """Alpha of each item and modality, and which it has; shapes (I, M), modalities in alphabetical order."""
        vectors, present = self._content()
        if self.items.fusion is None:
            return torch.zeros(self.shape.num_items, 0), torch.zeros(self.shape.num_items, 0, dtype=torch.bool)
        _, alpha_IM = self.items.fusion(vectors, present)
        return alpha_IM, torch.stack([present[name] for name in self.items.fusion.names], dim=1)

    def _content(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        dtype = self.items.id_emb.weight.dtype  # DeepSpeed casts parameters, not these buffers
        vectors = {name: getattr(self, f"content_{name}").to(dtype) for name in self.shape.widths}
        return vectors, {name: getattr(self, f"present_{name}") for name in self.shape.widths}

    def user_states(self, item_ID: Tensor, history: HistoryBatch, attributes: IntMatrix) -> Tensor:
        """User states after 0..L items, of unit length, shape (B, T, D); positions past a history's end are noise."""
        device = item_ID.device
        item, event, value, gap = (
            torch.from_numpy(a).to(device) for a in (history.item, history.event, history.value, history.gap)
        )
        code_BL = item.clamp(min=0)
        item_BLD = item_ID[code_BL]
        evidence_BLD = self._evidence(item_ID, code_BL)
        states = self.users(item_BLD, evidence_BLD, event, value, gap, torch.from_numpy(attributes).to(device))
        return F.normalize(states, dim=-1)

    def _evidence(self, item_ID: Tensor, code_BL: Tensor) -> Tensor:
        """What retrieval adds to each item that is read: the mean vector of its nearest texts, shape (B, L, D)."""
        if not self.config.num_retrieved:
            return item_ID.new_zeros(*code_BL.shape, item_ID.shape[1])
        codes, place_BL = code_BL.unique(return_inverse=True)  # each once, and none of the catalogue that nobody reads
        return item_ID[self.retrieved[codes]].mean(dim=1)[place_BL]

    def forward(self, history: HistoryBatch, attributes: IntMatrix) -> Outputs:
        """What scores are made of and, where the network predicts them, outcomes."""
        item_ID = self.item_vectors()
        states = self.user_states(item_ID, history, attributes)
        warm_ID = item_ID[: self.shape.num_warm_items]
        outcomes = self.outcome(states @ warm_ID.T, states, warm_ID) if self.outcome is not None else None
        device = states.device.type
        reduced = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else states.dtype
        return Outputs(states, (warm_ID / self.config.temperature).to(reduced), outcomes)

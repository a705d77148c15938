"""The user tower: soft tokens -> causal language model -> user states.

Shapes: B users, L history, T = L + 1 soft tokens, W backbone width, D width of item vectors, A attributes.
"""

from collections.abc import Collection

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from llm4rec.model.config import ModelConfig
from llm4rec.model.inputs import NUM_GAPS

TOKEN_STD = 0.1  # about the standard deviation of SmolLM2's own token embeddings, which its layers expect


class UserTower(nn.Module):
    """Reads [user attributes][history items with event, value, time gap and retrieved evidence]; its states are h_u.

    Position t of the output has read the attributes and the first t history items, so position 0 is the state of a
    user without history and one pass trains every position.
    """

    def __init__(
        self,
        config: ModelConfig,
        backbone: PreTrainedModel,
        *,
        num_events: int,
        num_values: int,
        attribute_sizes: list[int],
        hidden: Collection[int] = (),
    ) -> None:
        """Build around a backbone.

        Args:
            config: sizes and dropout.
            backbone: the causal language model.
            num_events: how many event codes there are.
            num_values: how many value bins.
            attribute_sizes: how many codes each user attribute has.
            hidden: places of attributes that are not read.
        """
        super().__init__()
        width = int(backbone.config.hidden_size)
        self.backbone = backbone
        self.widen = nn.Linear(config.embedding_size, width)
        self.evidence = nn.Linear(config.embedding_size, width, bias=False) if config.num_retrieved else None
        self.event_emb = nn.Embedding(num_events, width)
        self.value_emb = nn.Embedding(num_values, width)
        self.gap_emb = nn.Embedding(NUM_GAPS, width)
        self.read = [place for place in range(len(attribute_sizes)) if place not in hidden]
        self.attribute_embs = nn.ModuleList(nn.Embedding(attribute_sizes[place], width) for place in self.read)
        self.start = nn.Parameter(torch.randn(width) * TOKEN_STD)
        self.dropout = nn.Dropout(config.dropout)
        self.narrow = nn.Linear(width, config.embedding_size)
        for table in (self.event_emb, self.value_emb, self.gap_emb, *self.attribute_embs):
            nn.init.normal_(table.weight, std=TOKEN_STD / 4)

    def forward(
        self,
        item_BLD: Tensor,
        evidence_BLD: Tensor,
        event_BL: Tensor,
        value_BL: Tensor,
        gap_BL: Tensor,
        attribute_BA: Tensor,
    ) -> Tensor:
        """User states after 0..L history items, shape (B, T, D)."""
        token_BLW = self.widen(item_BLD) + self.event_emb(event_BL) + self.value_emb(value_BL) + self.gap_emb(gap_BL)
        if self.evidence is not None:
            token_BLW = token_BLW + self.evidence(evidence_BLD)
        first_BW = self.start.expand(len(attribute_BA), -1)
        for column, table in zip(self.read, self.attribute_embs, strict=True):
            first_BW = first_BW + table(attribute_BA[:, column])
        token_BTW = self.dropout(torch.cat([first_BW[:, None], token_BLW], dim=1))
        hidden_BTW = self.backbone(inputs_embeds=token_BTW, use_cache=False).last_hidden_state
        return self.narrow(self.dropout(hidden_BTW))

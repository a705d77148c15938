"""HSTU: attention without softmax, gated.

Shapes: B histories, L positions, H heads, D embedding size, I items.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from llm4rec.baselines.config import HSTUConfig, SequenceConfig
from llm4rec.baselines.dropout import Dropout
from llm4rec.baselines.sequence import PADDING, SequenceModel, SequenceNetwork


class HSTUBlock(nn.Module):
    """U, V, Q, K = silu(f1(norm(X))); X + f2(norm(silu(Q K^T + bias) V / L_max) * U) (equations 1 to 3 of the paper).

    The bias is learned for each distance of two positions and each head. Positions see themselves and earlier ones.
    """

    def __init__(self, config: SequenceConfig) -> None:
        super().__init__()
        width, self.num_heads, self.most = config.embedding_size, config.num_heads, config.history_length + 1
        self.norm = nn.LayerNorm(width)
        self.split = nn.Linear(width, 4 * width)
        self.mixed_norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, width)
        self.dropout = Dropout(config.dropout)
        self.distance_bias = nn.Parameter(torch.zeros(self.num_heads, self.most))

    def forward(self, states: Tensor) -> Tensor:
        """States (B, L, D) to states (B, L, D)."""
        batch, length, width = states.shape
        gate, rest = functional.silu(self.split(self.norm(states))).split([width, 3 * width], dim=-1)
        value, query, key = rest.view(batch, length, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        place = torch.arange(length, device=states.device)
        distance = place[:, None] - place
        bias = self.distance_bias[:, distance.clamp(min=0)]
        weights = functional.silu(query @ key.transpose(-1, -2) + bias) / self.most
        mixed = (weights * (distance >= 0)) @ value
        mixed = self.mixed_norm(mixed.transpose(1, 2).reshape(batch, length, width))
        return states + self.out(self.dropout(mixed * gate))


class HSTUNetwork(SequenceNetwork):
    """Item embeddings, blocks, and scores by cosine with the item embeddings."""

    def __init__(self, num_items: int, config: HSTUConfig) -> None:
        super().__init__()
        self.num_items = num_items
        self.temperature = config.temperature
        self.item_emb = nn.Embedding(num_items + 1, config.embedding_size)
        nn.init.normal_(self.item_emb.weight, std=0.02)
        self.position_emb = nn.Embedding(config.history_length + 1, config.embedding_size)
        nn.init.normal_(self.position_emb.weight, std=0.02)
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(HSTUBlock(config) for _ in range(config.num_blocks))

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, L) to states (B, L, D) of unit length."""
        tokens = torch.where(tokens == PADDING, self.num_items, tokens)
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        scale = self.item_emb.embedding_dim**0.5
        states = self.dropout(self.item_emb(tokens) * scale + self.position_emb(positions))
        for block in self.blocks:
            states = block(states)
        return functional.normalize(states, dim=-1)

    def items(self) -> Tensor:
        """The item embeddings, of unit length, over the temperature."""
        return functional.normalize(self.item_emb.weight[: self.num_items], dim=-1) / self.temperature


class HSTU(SequenceModel):
    """Hierarchical sequential transduction units (Zhai et al., Actions speak louder than words, ICML 2024).

    The part of the paper that reads items alone: no times. As in the authors' code, items are scaled by the square root
    of their width, positions are added, and scores are cosines over a temperature. Unlike there, a start token comes
    first, linear maps and norms have biases, and the loss is softmax over the whole catalogue, not over sampled items.
    """

    name = "hstu"
    config: HSTUConfig

    def __init__(self, config: HSTUConfig) -> None:
        super().__init__(config)

    def new_network(self, num_items: int) -> HSTUNetwork:
        """Blocks with fresh weights."""
        return HSTUNetwork(num_items, self.config)

"""The SASRec network: causal self-attention over a history, tied item embeddings.

Shapes: B histories, L positions, D embedding size, I items.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class CausalBlock(nn.Module):
    """One pre-norm transformer block whose positions see only themselves and earlier ones."""

    def __init__(self, embedding_size: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.dropout = dropout
        self.attention_norm = nn.LayerNorm(embedding_size)
        self.query_key_value = nn.Linear(embedding_size, 3 * embedding_size)
        self.attention_out = nn.Linear(embedding_size, embedding_size)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(embedding_size),
            nn.Linear(embedding_size, 4 * embedding_size),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(4 * embedding_size, embedding_size),
        )

    def forward(self, states: Tensor) -> Tensor:
        """States (B, L, D) to states (B, L, D)."""
        states = states + functional.dropout(self._attend(self.attention_norm(states)), self.dropout, self.training)
        return states + functional.dropout(self.feed_forward(states), self.dropout, self.training)

    def _attend(self, states: Tensor) -> Tensor:
        batch, length, width = states.shape
        heads = self.query_key_value(states).view(batch, length, 3, self.num_heads, width // self.num_heads)
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(
            query, key, value, dropout_p=self.dropout if self.training else 0.0, is_causal=True
        )
        return self.attention_out(mixed.transpose(1, 2).reshape(batch, length, width))


class SASRecNetwork(nn.Module):
    """Maps histories to states and states to item scores.

    Histories are padded on the right, so that under the causal mask no real position ever sees padding. A learned
    start token comes first, which gives an empty history a state too.
    """

    def __init__(
        self, num_items: int, *, embedding_size: int, num_blocks: int, num_heads: int, dropout: float, max_length: int
    ) -> None:
        super().__init__()
        self.start = num_items
        # Row `start` also stands in for padding, whose states are never read.
        self.item_emb = nn.Embedding(num_items + 1, embedding_size)
        self.position_emb = nn.Embedding(max_length, embedding_size)
        nn.init.normal_(self.item_emb.weight, std=embedding_size**-0.5)
        nn.init.normal_(self.position_emb.weight, std=0.02)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.Sequential(*(CausalBlock(embedding_size, num_heads, dropout) for _ in range(num_blocks)))
        self.final_norm = nn.LayerNorm(embedding_size)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, L), start token first, to the states (B, L, D) that predict the item after each token."""
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        states = self.item_emb(tokens) + self.position_emb(positions)
        return self.final_norm(self.blocks(self.dropout(states)))

    def logits(self, states: Tensor) -> Tensor:
        """States (..., D) to scores (..., I) of all items."""
        return states @ self.item_emb.weight[: self.start].T

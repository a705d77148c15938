"""The transformer of SASRec and BERT4Rec: self-attention over a history, tied item embeddings.

Shapes: B histories, L positions, D embedding size, I items.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from llm4rec.baselines.config import SequenceConfig
from llm4rec.baselines.dropout import Dropout
from llm4rec.baselines.sequence import PADDING, SequenceNetwork


class Block(nn.Module):
    """One pre-norm transformer block.

    Attention weights are not dropped out: no fused kernel on a CPU does it.
    """

    def __init__(self, embedding_size: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.dropout = Dropout(dropout)
        self.attention_norm = nn.LayerNorm(embedding_size)
        self.query_key_value = nn.Linear(embedding_size, 3 * embedding_size)
        self.attention_out = nn.Linear(embedding_size, embedding_size)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(embedding_size),
            nn.Linear(embedding_size, 4 * embedding_size),
            nn.GELU(),
            Dropout(dropout),
            nn.Linear(4 * embedding_size, embedding_size),
        )

    def forward(self, states: Tensor, seen: Tensor | None) -> Tensor:
        """States (B, L, D) to states (B, L, D).

        Args:
            states: of every position.
            seen: which positions all others see, shape (B, 1, 1, L); None: each sees itself and those before it.
        """
        states = states + self.dropout(self._attend(self.attention_norm(states), seen))
        return states + self.dropout(self.feed_forward(states))

    def _attend(self, states: Tensor, seen: Tensor | None) -> Tensor:
        query, key, value = self._heads(states)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=seen, is_causal=seen is None)
        return self._joined(mixed)

    def _heads(self, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of every head, each (B, H, L, D / H)."""
        batch, length, width = states.shape
        heads = self.query_key_value(states).view(batch, length, 3, self.num_heads, width // self.num_heads)
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        return query, key, value

    def _joined(self, mixed: Tensor) -> Tensor:
        """What the heads (B, H, L, D / H) found, as states (B, L, D)."""
        return self.attention_out(mixed.transpose(1, 2).flatten(2))


class Transformer(SequenceNetwork):
    """Item and position embeddings, blocks, and scores by inner product with the item embeddings.

    Histories are padded on the right: causal positions never see padding, others are kept from it.
    """

    def __init__(self, num_items: int, config: SequenceConfig, *, causal: bool) -> None:
        super().__init__()
        self.num_items = num_items
        self.causal = causal
        width = config.embedding_size
        # The last row is the model's own token; it also stands in for padding, whose states are never read.
        self.item_emb = nn.Embedding(num_items + 1, width)
        self.position_emb = nn.Embedding(config.history_length + 1, width)
        nn.init.normal_(self.item_emb.weight, std=width**-0.5)
        nn.init.normal_(self.position_emb.weight, std=0.02)
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(width, config.num_heads, config.dropout) for _ in range(config.num_blocks))
        self.final_norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, L) to states (B, L, D)."""
        real = tokens != PADDING
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        if not self.causal:
            # What is asked for is the last place: counted from there, every length of history has trained it.
            positions = (real.sum(dim=1, keepdim=True) - 1 - positions).clamp(min=0)
        states = self.dropout(self.item_emb(torch.where(real, tokens, self.num_items)) + self.position_emb(positions))
        for block in self.blocks:
            states = block(states, None if self.causal else real[:, None, None])
        return self.final_norm(states)

    def items(self) -> Tensor:
        """The item embeddings."""
        return self.item_emb.weight[: self.num_items]

"""Would the outcome be good, were the item chosen? Shapes: B users, T positions, I warm items, D width."""

import torch
from torch import Tensor, nn


class OutcomeHead(nn.Module):
    """Log odds of a good outcome: scale * cosine(h_u, e_i) + w_u . h_u + w_i . e_i + b_i.

    What a user likes is in the cosine, how generous the user is in the second term, how good the item is for everybody
    in the last two; items without an id, the cold ones, have no b_i.
    """

    def __init__(self, width: int, num_warm_items: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))  # not a scalar: DeepSpeed broadcasts parameters as bytes
        self.user = nn.Linear(width, 1)
        self.item = nn.Linear(width, 1, bias=False)
        self.item_bias = nn.Parameter(torch.zeros(num_warm_items))

    def forward(self, cosine_BTI: Tensor, state_BTD: Tensor, item_ID: Tensor) -> Tensor:
        """Log odds of every warm item at every position, shape (B, T, I)."""
        item_I = self.item(item_ID).squeeze(-1) + self.item_bias
        return self.scale * cosine_BTI + self.user(state_BTD) + item_I

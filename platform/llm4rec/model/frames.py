"""The recurrent encoder of modalities that are a series of frames, such as the log-mel spectrogram of a sound.

Shapes: I items, T frames, W values a frame, F fusion width.
"""

import torch
from torch import Tensor, nn

MAX_ROWS = 512
"""Items run at once, and items whose gradient one training step follows."""


class FrameEncoder(nn.Module):
    """A GRU over the frames of each item; the mean of its states, through a linear layer, stands for the item.

    It is trained with the model, and the item tower needs all items at every step. So that a step costs the same for
    any catalogue, training runs at most `MAX_ROWS` items, drawn at random, and takes for the others what came out the
    last time they were run. In evaluation mode every item is run.
    """

    def __init__(self, frames: int, width: int, fusion_size: int) -> None:
        super().__init__()
        self.frames = frames
        self.norm = nn.LayerNorm(width)
        self.gru = nn.GRU(width, fusion_size, batch_first=True)
        self.out = nn.Linear(fusion_size, fusion_size)
        self._last_IF: Tensor | None = None  # not a buffer: it can always be computed again

    def forward(self, flat: Tensor, present: Tensor) -> Tensor:
        """Encode.

        Args:
            flat: shape (I, T * W); what stands in rows of items without the modality is ignored.
            present: shape (I,), bool.

        Returns:
            Shape (I, F), zero for items without the modality.
        """
        rows = present.nonzero().squeeze(1)
        if self.training and len(rows) > MAX_ROWS:
            return self._refreshed(flat, rows)
        return self._run(flat, rows)

    def _refreshed(self, flat: Tensor, rows: Tensor) -> Tensor:
        if self._last_IF is None or len(self._last_IF) != len(flat):
            with torch.no_grad():
                self._last_IF = self._run(flat, rows)
        some = rows[torch.randperm(len(rows), device=rows.device)[:MAX_ROWS]]
        result_IF = self._last_IF.index_put((some,), self._encode(flat[some]))
        self._last_IF = result_IF.detach()
        return result_IF

    def _run(self, flat: Tensor, rows: Tensor) -> Tensor:
        if not len(rows):
            return flat.new_zeros(len(flat), self.out.out_features)
        encoded = torch.cat([self._encode(flat[some]) for some in rows.split(MAX_ROWS)])
        return encoded.new_zeros(len(flat), encoded.shape[1]).index_put((rows,), encoded)

    def _encode(self, flat: Tensor) -> Tensor:
        states_ITF, _ = self.gru(self.norm(flat.unflatten(1, (self.frames, -1))))
        return self.out(states_ITF.mean(dim=1))

"""Fusion of an item's modalities: A(m->n), alpha and beta (method: arXiv 2510.01622, section on fusion).

Shapes: I items, M modalities, D_m width of modality m, F fusion width.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from llm4rec.model.by_name import ByName
from llm4rec.model.frames import FrameEncoder

MIN_DEVIATION = 1e-6


class Fusion(nn.Module):
    """Fuses frozen vectors h_m of any subset of modalities into one vector an item.

    h_m' = h_m + sum_n A(m->n) V_n h_n with A(m->n) = softmax_n(Q_m h_m . K_n h_n / sqrt(F)) over the other present
    modalities; h_fused = sum_m alpha_m h_m' + beta MLP([h_1; ...; h_M]), alpha learned per item. A missing modality
    takes part in nothing: it cannot change the output or a gradient, not even by a NaN.
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        fusion_size: int,
        modality_dropout: float,
        frames: Mapping[str, int] | None = None,
    ) -> None:
        """Build.

        Args:
            widths: D_m by modality, at least one.
            fusion_size: F.
            modality_dropout: chance that a modality of an item is hidden in training.
            frames: by modality that is a series of frames, how many; its h_m comes from a recurrent encoder.
        """
        super().__init__()
        self.names = sorted(widths)
        self.modality_dropout = modality_dropout
        self.frames = dict(frames or {})
        self.project = ByName({name: self._projection(name, widths[name], fusion_size) for name in self.names})
        for name in self.names:
            if name not in self.frames:  # whose encoder has its own normalisation
                self.register_buffer(f"mean_{name}", torch.zeros(widths[name]))
                self.register_buffer(f"scale_{name}", torch.ones(1))
        self.query = ByName({name: nn.Linear(fusion_size, fusion_size, bias=False) for name in self.names})
        self.key = ByName({name: nn.Linear(fusion_size, fusion_size, bias=False) for name in self.names})
        self.value = ByName({name: nn.Linear(fusion_size, fusion_size, bias=False) for name in self.names})
        self.gate = ByName({name: nn.Linear(fusion_size, 1) for name in self.names})
        width = fusion_size * len(self.names)
        self.residual = nn.Sequential(nn.Linear(width, fusion_size), nn.GELU(), nn.Linear(fusion_size, fusion_size))
        self.beta = nn.Parameter(torch.full((1,), 0.1))  # not a scalar: DeepSpeed broadcasts parameters as bytes

    @torch.no_grad()
    def standardise(self, vectors: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> None:
        """Learn each modality's mean vector and overall deviation, which are taken out of h_m before anything else.

        Frozen vectors of one encoder share a direction (the mean cosine of ML-1M's texts is 0.32, of its posters 0.40).
        Left in, it is what the first steps see, and training stands still at the popularity of items.
        """
        for name in self.names:
            known = vectors[name][present[name]].float()
            if name in self.frames or not len(known):
                continue
            mean = known.mean(dim=0)
            deviation = (known - mean).square().mean().sqrt()
            getattr(self, f"mean_{name}").copy_(mean)
            getattr(self, f"scale_{name}").fill_(deviation if deviation > MIN_DEVIATION else 1.0)

    def forward(self, vectors: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Fuse.

        Args:
            vectors: by modality, shape (I, D_m); what stands in rows of missing modalities is ignored.
            present: by modality, shape (I,), bool.

        Returns:
            The fused vectors, shape (I, F), zero for items without any modality, and alpha, shape (I, M), in the
            order of `names`.
        """
        mask_IM = self._visible(torch.stack([present[name] for name in self.names], dim=1))
        h_IMF = torch.stack([self._project(name, vectors[name], present[name]) for name in self.names], dim=1)
        h_IMF = torch.where(mask_IM[..., None], h_IMF, 0)
        mixed_IMF = h_IMF + self._attend(h_IMF, mask_IM)
        alpha_IM = self._weigh(mixed_IMF, mask_IM)
        fused_IF = (alpha_IM[..., None] * mixed_IMF).sum(dim=1)
        residual_IF = self.residual(h_IMF.flatten(1))
        return torch.where(mask_IM.any(1, keepdim=True), fused_IF + self.beta * residual_IF, 0), alpha_IM

    def _projection(self, name: str, width: int, fusion_size: int) -> nn.Module:
        if name not in self.frames:
            return nn.Linear(width, fusion_size)
        return FrameEncoder(self.frames[name], width // self.frames[name], fusion_size)

    def _project(self, name: str, vectors: Tensor, present: Tensor) -> Tensor:
        if name in self.frames:
            return self.project[name](vectors, present)
        # before the layer, since 0 times NaN would be a NaN in the gradient of its weights
        known = torch.where(present[:, None], vectors, 0).float()
        standard = (known - getattr(self, f"mean_{name}").float()) / getattr(self, f"scale_{name}").float()
        return self.project[name](standard.to(self.beta.dtype))

    def _visible(self, present_IM: Tensor) -> Tensor:
        """The presence mask, in training with modality dropout that never hides an item's last modality."""
        if not self.training or self.modality_dropout == 0:
            return present_IM
        kept_IM = present_IM & (torch.rand(present_IM.shape, device=present_IM.device) >= self.modality_dropout)
        return torch.where(kept_IM.any(1, keepdim=True), kept_IM, present_IM)

    def _attend(self, h_IMF: Tensor, mask_IM: Tensor) -> Tensor:
        q_IMF, k_IMF, v_IMF = (self._each(layers, h_IMF) for layers in (self.query, self.key, self.value))
        scores_IMM = q_IMF @ k_IMF.transpose(1, 2) / math.sqrt(h_IMF.shape[-1])
        others_MM = ~torch.eye(len(self.names), dtype=torch.bool, device=h_IMF.device)
        return _masked_softmax(scores_IMM, mask_IM[:, None, :] & others_MM) @ v_IMF

    def _weigh(self, h_IMF: Tensor, mask_IM: Tensor) -> Tensor:
        return _masked_softmax(self._each(self.gate, torch.tanh(h_IMF)).squeeze(-1), mask_IM)

    def _each(self, layers: nn.ModuleDict, h_IMF: Tensor) -> Tensor:
        return torch.stack([layers[name](h_IMF[:, m]) for m, name in enumerate(self.names)], dim=1)


def _masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last axis among masked-in entries; all zero where there is none."""
    filled = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return torch.where(mask, filled.softmax(-1), 0)

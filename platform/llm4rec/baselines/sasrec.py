"""SASRec: with full softmax the baseline to beat, with binary cross entropy on sampled items, and as gSASRec."""

from torch import Tensor

from llm4rec.baselines.config import Loss, SASRecConfig
from llm4rec.baselines.sequence import IGNORED, SequenceModel, SequenceNetwork
from llm4rec.baselines.sequence_loss import sampled_bce_loss
from llm4rec.baselines.transformer import Transformer

NAMES: dict[Loss, str] = {"softmax": "sasrec", "bce": "sasrec_bce", "gbce": "gsasrec"}


class SASRec(SequenceModel):
    """Self-attentive sequential recommendation (Kang and McAuley, ICDM 2018).

    Unlike the original's, the loss is by default softmax cross entropy over the whole catalogue at every position,
    which is worth more than any change of the network (Klenitskiy and Vasilev, Turning dross into gold loss, RecSys
    2023). Also unlike it, whole histories are read, in windows, after a token that starts each, item vectors are not
    scaled up, keys and values are normalised like queries, and the feed-forward part is four times as wide, with GELU.
    """

    config: SASRecConfig

    def __init__(self, config: SASRecConfig) -> None:
        super().__init__(config)
        self.name = NAMES[config.loss]

    def new_network(self, num_items: int) -> Transformer:
        """A causal transformer."""
        return Transformer(num_items, self.config, causal=True)

    def step_loss(self, network: SequenceNetwork, tokens: Tensor, targets: Tensor) -> Tensor:
        """The loss that the settings ask for."""
        if self.config.loss == "softmax":
            return super().step_loss(network, tokens, targets)
        wanted = targets != IGNORED
        scores = network.logits(network(tokens)[wanted]).float()
        calibration = self.config.calibration if self.config.loss == "gbce" else 0.0
        return sampled_bce_loss(scores, targets[wanted], self.config.num_negatives, calibration)

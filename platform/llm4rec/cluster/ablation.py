"""Our model with something changed after training: without its gate, slates debiased, states repaired."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from llm4rec.cluster.snapshot import Snapshot
from llm4rec.evaluate.config import EvaluateConfig
from llm4rec.evaluate.metrics import Labels
from llm4rec.evaluate.protocol import EvaluationSet
from llm4rec.evaluate.ranking import Scorer, rank
from llm4rec.evaluate.report import OURS, Ablation
from llm4rec.evaluate.result import ModelResult, measure
from llm4rec.recommend.scorers import Debiased, OfStates
from llm4rec.schema import TEXT, FloatMatrix

SWEEP = (0.5, 1.0)
REPAIRS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Ablations:
    """Of a run, for the users of an evaluation set. Shapes: E rows.

    Attributes:
        snapshot: the run's artifacts.
        evaluation_set: whom slates are for.
        config: how they are measured.
        groups: user attribute to labels, shape (E,).
    """

    snapshot: Snapshot
    evaluation_set: EvaluationSet
    config: EvaluateConfig
    groups: Mapping[str, Labels]

    def run(self, whole: ModelResult, ours: Scorer, network: Scorer) -> dict[str, Ablation]:
        """Every variant there is.

        Args:
            whole: what the model did, nothing changed.
            ours: the model.
            network: it without its gate.
        """
        changed: dict[str, Ablation] = {}
        if self.snapshot.gate.weight:
            changed["network alone"] = Ablation(self._measure(network), whole)
        if (prices := self.snapshot.prices.price).any():
            changed["debias 0"] = Ablation(whole, None)
            for debias in SWEEP:
                scorer = Debiased(ours, prices, debias * self.snapshot.effects.user_weight, self.config)
                changed[f"debias {debias:g}"] = Ablation(self._measure(scorer), whole)
        return changed | self._repaired()

    def _repaired(self) -> dict[str, Ablation]:
        """The network alone, by how much of an attribute's trace is taken out of states; empty without a repair."""
        scorer, users = self.snapshot.scorer, self.evaluation_set.users
        if scorer.repair is None:
            return {}
        names = [scorer.model.shape.attributes.names[place] for place in scorer.repaired]
        attacked = [name for name in names if name in self.groups]
        if not attacked:
            return {}
        raw = scorer.user_states(users, self.evaluation_set.histories, repaired=False)
        codes = scorer.attributes[users][:, scorer.repaired]
        found: dict[str, Ablation] = {}
        nothing = None
        for strength in REPAIRS:
            states = scorer.repair(raw, codes, strength)
            result = self._measure(OfStates.of(states, scorer, self.evaluation_set), states, attacked)
            found[f"repair {strength:g}"] = Ablation(result, nothing)
            nothing = nothing or result
        return found

    def _measure(
        self, scorer: Scorer, states: FloatMatrix | None = None, attacked: Collection[str] = ()
    ) -> ModelResult:
        text = self.snapshot.features.get(TEXT)
        return measure(
            OURS,
            rank(scorer, self.evaluation_set, self.config),
            self.snapshot.corpus,
            self.config,
            seconds=0.0,
            text_vectors=text.vectors if text else None,
            groups=self.groups,
            states=states,
            attacked=attacked,
        )

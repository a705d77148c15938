"""What supports one item for one user: nearest history items and retrieved evidence."""

from llm4rec.cluster.catalogue import LiveCatalogue
from llm4rec.cluster.snapshot import Snapshot
from llm4rec.explain.config import ExplainConfig
from llm4rec.explain.grounds import Grounds, choose_anchors, ground
from llm4rec.index.evidence import EvidenceStore
from llm4rec.schema import History


class Grounding:
    """Finds the grounds of recommendations in the evidence store."""

    def __init__(self, snapshot: Snapshot, config: ExplainConfig) -> None:
        self._evidence: EvidenceStore = snapshot.evidence
        self._config = config

    def of(self, catalogue: LiveCatalogue, item: int, history: History) -> Grounds:
        """The grounds of one item (by code) for a user with this history."""
        anchors = choose_anchors(item, history, catalogue.ranking.vectors, self._config.num_anchors)
        passages = []
        if self._config.num_passages:
            query = catalogue.text_vectors[item]
            found = self._evidence.retrieve(query, [item], self._config.num_passages)
            passages = [evidence.passage for evidence in found]
        return ground(
            item,
            anchors,
            passages,
            item_ids=catalogue.item_ids,
            titles=catalogue.titles,
            categories=catalogue.ranking.categories,
            verb=self._config.history_verb,
        )

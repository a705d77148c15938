"""Writes a corpus artifact, byte for byte the same for the same corpus."""

from llm4rec.artifacts import ArtifactWriter
from llm4rec.preprocess.report import corpus_report
from llm4rec.preprocess.stage import CorpusParts


def write_corpus(writer: ArtifactWriter, parts: CorpusParts) -> None:
    """Copy the parts of the four tables in; write `corpus.json`, `statistics.json` and the report, `index.html`."""
    writer.adopt_parts("interactions", parts.interactions)
    writer.adopt_parts("items", parts.items)
    writer.adopt_parts("users", parts.users)
    writer.adopt_parts("quarantine", parts.quarantine)
    writer.write_json("corpus.json", parts.info)
    statistics = parts.statistics.model_dump(mode="json")
    writer.write_json("statistics.json", statistics)
    writer.write_bytes("index.html", corpus_report(statistics).encode())

"""The whole stage: the items of a corpus into the parts of the features, one modality after another.

Encoders that run a network, and those that decode media, work on runs of items; `each` says where. The others need one
look at the whole catalogue, part by part, and then go through it here. No more than a part is held at once.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from types import MappingProxyType
from typing import Any, Protocol

import pyarrow as pa

from llm4rec.artifacts import Artifact, ArtifactWriter, Part
from llm4rec.encode.categories import CategoryColumns
from llm4rec.encode.config import EncodeConfig, PrecomputedConfig
from llm4rec.encode.numbers import NumberScales
from llm4rec.encode.part import COLUMNS, MEL, Answer, EncodeTask, PartEncoder, make_folder, write_answer
from llm4rec.encode.precomputed import read_precomputed
from llm4rec.encode.text import item_texts
from llm4rec.errors import DataError
from llm4rec.schema import AUDIO, CATEGORIES, IMAGE, ITEM_ID, NUMBERS, QUARANTINE_SCHEMA, TEXT, Modality

log = logging.getLogger("llm4rec")

ROWS_PER_TASK = {TEXT: 512, IMAGE: 256, AUDIO: 64, MEL: 128}
"""Items a run: seconds of work, so that neither a lost run nor the start of one costs much."""


class Each(Protocol):
    """Runs tasks in any order and anywhere, each where the factory was called once; answers come in their order."""

    def __call__(
        self, step: str, factory: Callable[[], Callable[[EncodeTask], Answer]], tasks: Sequence[EncodeTask]
    ) -> list[Answer]:
        """Answers hold plain values only."""


@dataclass
class FeatureParts:
    """Finished features, their tables still in the work folder.

    Attributes:
        modalities: parts by modality, (item_id, vector) in the order of the items.
        quarantine: parts of the media and vectors that could not be used: row of the item from 1, modality, reason.
        info: what `features.json` holds.
    """

    modalities: dict[str, list[Part]] = field(default_factory=dict)
    quarantine: list[Part] = field(default_factory=list)
    info: dict[str, Any] = field(default_factory=lambda: {"modalities": [], "shapes": {}, "counts": {}})

    def add(self, name: str, answers: Sequence[Answer], shape: Sequence[int] | None = None, **more: int) -> None:
        """Take in a modality, unless nothing could be encoded; what was refused is kept in any case."""
        counts = {key: sum(answer[key] for answer in answers) for key in ("items", "present", "quarantined", "absent")}
        self.info["counts"][name] = counts | more
        self.quarantine += [Part(**answer["quarantine"]) for answer in answers if answer["quarantine"]]
        log.info("encode: %s: %s", name, ", ".join(f"{key} {n}" for key, n in self.info["counts"][name].items()))
        if not counts["present"]:
            if counts["quarantined"]:
                reason = next(answer["refusal"] for answer in answers if answer["refusal"])
                log.warning("encode: %s is left out: nothing could be used, such as %s", name, reason)
            return
        self.modalities[name] = [Part(**answer["vectors"]) for answer in answers]
        self.info["modalities"].append(name)
        if shape is not None:
            self.info["shapes"][name] = list(shape)

    def write(self, writer: ArtifactWriter) -> None:
        """Move everything into an artifact."""
        for name, parts in self.modalities.items():
            writer.adopt_parts(name, parts)
        if self.quarantine:
            writer.adopt_parts("quarantine", self.quarantine)
        else:
            writer.write_table("quarantine", QUARANTINE_SCHEMA.empty_table())
        writer.write_json("features.json", self.info)


class FeatureEncoder:
    """Makes features from a corpus."""

    def __init__(self, corpus: Artifact, config: EncodeConfig, *, run: str, source: str, work: str) -> None:
        """Make features.

        Args:
            corpus: what is encoded.
            config: encoders and limits.
            run: location of the run, which every node can reach.
            source: the folder of the raw files, which relative paths of media start from.
            work: location of the folder for unfinished parts, which every node can reach too.
        """
        self._corpus, self._config = corpus, config
        self._run, self._source, self._work = run, source, work

    def encode(self, each: Each) -> FeatureParts:
        """Encode every modality that the configuration asks for and any item has.

        Raises:
            DataError: no item has anything to encode, or precomputed vectors cannot be used.
        """
        parts = FeatureParts()
        for name in self._wanted():
            if name in COLUMNS:
                self._encode_item_by_item(parts, name, each)
            elif name == CATEGORIES:
                self._encode_categories(parts)
            elif name == NUMBERS:
                self._encode_numbers(parts)
        for name, precomputed in self._config.precomputed.items():
            self._take_precomputed(parts, name, precomputed)
        if not parts.modalities:
            raise DataError(
                f"nothing to encode: no item has {', '.join(self._wanted())} that can be used; give the source an "
                "items file with such columns (source.tabular.items) or vectors (encode.precomputed)"
            )
        return parts

    def _wanted(self) -> list[str]:
        audio = self._config.audio
        wanted = {
            TEXT: self._config.text_model is not None,
            CATEGORIES: True,
            NUMBERS: True,
            IMAGE: self._config.image_model is not None,
            AUDIO: audio in {"speech", "both"},
            MEL: audio in {"mel", "both"},
        }
        return [name for name, is_wanted in wanted.items() if is_wanted]

    @cached_property
    def _files(self) -> list[tuple[str, list[str]]]:
        """Parts of the items table, and the ids in each."""
        tables = self._corpus.read_parts("items", [ITEM_ID])
        return [
            (file, table[ITEM_ID].to_pylist()) for file, table in zip(self._corpus.parts("items"), tables, strict=True)
        ]

    def _items(self, *columns: str) -> Iterator[pa.Table]:
        return self._corpus.read_parts("items", [ITEM_ID, *columns])

    def _encode_item_by_item(self, parts: FeatureParts, name: str, each: Each) -> None:
        if not self._any_has(name):
            return
        make_folder(self._work, name)
        factory = partial(PartEncoder, name, self._config, self._source)
        shape = (self._config.mel_frames, self._config.mel_bands) if name == MEL else None
        parts.add(name, each(name, factory, self._tasks(name)), shape)

    def _any_has(self, name: str) -> bool:
        if name == TEXT:
            return any(any(item_texts(table)) for table in self._items(*COLUMNS[TEXT][1:]))
        column = COLUMNS[name][1]
        tables = self._items(column)
        return any(column in table.column_names and any(table[column].to_pylist()) for table in tables)

    def _tasks(self, name: str) -> list[EncodeTask]:
        size, tasks, first = ROWS_PER_TASK[name], list[EncodeTask](), 0
        for file, ids in self._files:
            for start in range(0, len(ids), size):
                task = EncodeTask(
                    run=self._run,
                    file=f"{self._corpus.path}/{file}",
                    start=start,
                    stop=min(start + size, len(ids)),
                    first=first + start,
                    work=self._work,
                    number=len(tasks),
                )
                tasks.append(task)
            first += len(ids)
        return tasks

    def _encode_categories(self, parts: FeatureParts) -> None:
        columns = CategoryColumns.fit(self._items(CATEGORIES), self._config.max_categories)
        if not columns.names:
            return
        if columns.num_found > len(columns.names):
            log.info(
                "encode: categories: the %d most frequent of %d have a column (encode.max_categories)",
                len(columns.names),
                columns.num_found,
            )
        parts.add(CATEGORIES, self._write_all(CATEGORIES, map(columns.encode, self._items(CATEGORIES))))

    def _encode_numbers(self, parts: FeatureParts) -> None:
        scales = NumberScales.fit(self._items(NUMBERS))
        if scales is not None:
            parts.add(NUMBERS, self._write_all(NUMBERS, map(scales.encode, self._items(NUMBERS))))

    def _take_precomputed(self, parts: FeatureParts, name: str, config: PrecomputedConfig) -> None:
        vectors = read_precomputed(name, config, self._source)
        known = {item_id for _, ids in self._files for item_id in ids}
        unknown = sum(item_id not in known for item_id in vectors.ids)
        if unknown == len(vectors.ids):
            raise DataError(
                f"encode.precomputed.{name}: none of {unknown} ids of {config.path}, such as {vectors.ids[0]!r}, is an "
                f"item of the corpus, such as {next(iter(known), None)!r}"
            )
        useless = vectors.useless()
        parts.add(
            name, self._write_all(name, (vectors.of(ids) for _, ids in self._files), useless), unknown_ids=unknown
        )

    def _write_all(
        self, name: str, encoded: Iterator[Modality], useless: Mapping[str, str] = MappingProxyType({})
    ) -> list[Answer]:
        """Write vectors that were made here, a part of the items after the other; `useless` holds reasons by item."""
        make_folder(self._work, name)
        answers, first = list[Answer](), 1
        for (_, ids), modality in zip(self._files, encoded, strict=True):
            refused = [(row, useless[item_id]) for row, item_id in enumerate(ids, first) if item_id in useless]
            answers.append(write_answer(self._work, name, len(answers), ids, modality, refused))
            first += len(ids)
        return answers

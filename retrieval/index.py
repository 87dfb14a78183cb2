"""Questions in, ranked passages out: an index in memory, or one on disk of any size.

Knows which words of a passage count, and what belongs into an index's folder. Does not know where documents came from, what a
claim is, or HTTP.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import count, groupby
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from retrieval.bm25 import (
    K1,
    Advance,
    Array,
    B,
    EagerEngine,
    Engine,
    Hit,
    RankEngine,
    Tokens,
    engine_name,
    inverse_frequency,
)
from retrieval.catalogue import Catalogue, Filed, NewCatalogue
from retrieval.corpus import Document, Passage, split_passages
from retrieval.storage import REMEDY, DamagedIndex, Generation, check, opened, replacing
from retrieval.tokens import ENGLISH, LANGUAGES, settings, tokenise

FORMAT = 4
"""Change this when files of the same text would become other passages, or would be kept otherwise."""

PASSAGES, TERMS, LENGTHS = "passages.sqlite", "terms.i32", "lengths.i32"


TITLE_WEIGHT = 2
"""How often a word of the title counts; with k1 and b tuned on half of the queries of five collections (data/LOG.md)."""


def terms_of(passage: Passage, language: str = ENGLISH) -> list[str]:
    """The terms by which a passage is found: those of its title, of the headings above it and of its text."""
    return tokenise("\n".join((*[passage.title] * TITLE_WEIGHT, passage.heading, passage.text)), language)


class Index:
    """Passages, searchable, and the same after saving and loading. Safe to search from several threads."""

    def __init__(
        self, passages: "Passages", engine: Engine, document_count: int, generation: str = "", language: str = ENGLISH
    ) -> None:
        """Use `build` or `load`."""
        self._passages, self._engine = passages, engine
        self.language = language
        """Of the stems and stop words, by which passages are found and questions read."""
        self.document_count = document_count
        self.generation = generation
        """Another each time the folder's content is replaced; "" for an index that was built in memory."""

    @classmethod
    def build(
        cls, documents: Iterable[Document], words: int = 100, engine: str = "auto", language: str = ENGLISH
    ) -> "Index":
        """An index in memory of the documents, cut into passages of about `words` words. No documents give an index that finds
        nothing.

        Words of the title and of the headings above count as words of each passage. `engine`: rank-bm25, bm25s, or auto (by size).
        `language`: a name of `tokens.LANGUAGES`. Raises ValueError for another one, and when two documents have the same id: a
        citation could not name its source.
        """
        passages: list[Passage] = []
        ids: set[str] = set()
        for document in documents:
            if document.id in ids:
                raise ValueError(f"two documents have the id {document.id!r}")
            ids.add(document.id)
            passages += split_passages(document, words)
        numbering = Numbering()
        numbers = [numbering.add(terms_of(passage, language)) for passage in passages]
        terms = np.array([number for row in numbers for number in row], dtype=np.int32)
        lengths = np.array([len(row) for row in numbers], dtype=np.int32)
        tokens = Tokens(terms, lengths, np.array(numbering.holding, dtype=np.int64))
        made = EagerEngine.of(tokens) if engine_name(engine, len(passages)) == EagerEngine.name else RankEngine(tokens)
        return cls(_Listed(passages, numbering), made, len(ids), language=language)

    @classmethod
    def load(cls, folder: str | Path) -> "Index":
        """Opens what `save` or `update_index` wrote; passages stay on disk until they are found.

        Every file is compared with its checksum, one of more than `storage.WHOLE` bytes (64 MiB) only with its size: `winnow index
        --status --verify` reads it all. Raises FileNotFoundError when the folder is missing; DamagedIndex when a file is missing or
        differs, or when another version of Winnow wrote it. Each names the file or folder and the command that builds the index
        anew.
        """
        return opened(Path(folder), cls.of)

    @classmethod
    def of(cls, generation: Generation) -> "Index":
        """Opens one generation of a folder. Raises DamagedIndex."""
        facts = generation.facts
        language = str(facts.get("language"))
        known = language in LANGUAGES and facts.get("tokeniser") == settings(language)
        if facts.get("format") != FORMAT or not known or not scored_alike(facts):
            raise DamagedIndex(f"the index at {generation.folder} was written by another version of Winnow: {REMEDY}")
        check(generation)
        try:
            catalogue = Catalogue(generation.folder / PASSAGES, int(facts["passages"]))
            engine: Engine
            if facts["engine"] == EagerEngine.name:
                engine = EagerEngine.load(generation.folder, len(catalogue))
            else:
                holding = np.array([holding for _, holding in catalogue.terms()], dtype=np.int64)
                engine = RankEngine(tokens_in(generation.folder, holding))
            return cls(catalogue, engine, int(facts["documents"]), generation.name, language)
        except (OSError, sqlite3.Error, ValueError, KeyError, TypeError, IndexError) as error:
            raise DamagedIndex(f"damaged index: {generation.folder} ({error}): {REMEDY}") from error

    def __len__(self) -> int:
        """The number of passages."""
        return len(self._passages)

    @property
    def passages(self) -> tuple[Passage, ...]:
        """Every passage in order, read into memory."""
        return tuple(self._passages)

    @property
    def engine(self) -> str:
        """ "rank-bm25" or "bm25s"."""
        return self._engine.name

    def passage(self, id: str) -> Passage:
        """The passage of this id. Raises KeyError when there is none."""
        return self._passages.named(id)

    def weight(self, token: str) -> float:
        """The idf of a term as `tokenise` gives it; a term that no passage holds has the largest there is. Always above
        0.
        """
        known = self._passages.term(token)
        return inverse_frequency(len(self), known[1] if known else 0)

    def search(self, query: str, k: int = 5) -> list[Hit]:
        """At most k hits, best first, only scores above 0, equal scores in passage order. Raises ValueError when k is
        below 1.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        known = [found[0] for found in map(self._passages.term, tokenise(query, self.language)) if found]
        return [Hit(self._passages.at(row), score) for row, score in self._engine.top(known, k)]

    def save(self, folder: str | Path) -> None:
        """Writes the index as a folder that `load` and `winnow index` read, replacing an earlier index there only when the new one
        is whole.

        Raises FileExistsError when the folder holds other files.
        """
        with replacing(Path(folder)) as place, NewIndex(place.begin(), self.language) as made:
            for _, group in groupby(self._passages, lambda passage: passage.document_id):
                pieces = list(group)
                first = pieces[0]
                made.add(Filed(first.document_id, first.title, first.url, first.source, 0, 0), pieces)
            place.publish({**made.finish(self.engine), "documents": self.document_count})


def scored_alike(facts: Mapping[str, Any]) -> bool:
    """Whether what is on disk holds for this version's k1 and b: rank-bm25 counts at each start, bm25s when it is written."""
    return facts.get("engine") != EagerEngine.name or (facts.get("k1"), facts.get("b")) == (K1, B)


class Passages(Protocol):
    """What an index asks of its passages, in memory or on disk."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Passage]: ...

    def at(self, row: int) -> Passage: ...

    def named(self, id: str) -> Passage: ...

    def term(self, term: str) -> tuple[int, int] | None: ...


class Numbering:
    """Terms as numbers, from 0 on in the order in which they come. `holding`: in how many of the texts each number's term stands."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = defaultdict(count().__next__)
        self.holding: list[int] = []

    def add(self, terms: Sequence[str]) -> list[int]:
        """One text's terms as numbers, repeats included."""
        numbers = list(map(self.numbers.__getitem__, terms))
        self.holding += [0] * (len(self.numbers) - len(self.holding))
        for number in set(numbers):
            self.holding[number] += 1
        return numbers


class _Listed:
    """Passages in memory."""

    def __init__(self, passages: Sequence[Passage], numbering: Numbering) -> None:
        self._passages, self._numbering = tuple(passages), numbering
        self._by_id = {passage.id: passage for passage in passages}

    def __len__(self) -> int:
        return len(self._passages)

    def __iter__(self) -> Iterator[Passage]:
        return iter(self._passages)

    def at(self, row: int) -> Passage:
        return self._passages[row]

    def named(self, id: str) -> Passage:
        return self._by_id[id]

    def term(self, term: str) -> tuple[int, int] | None:
        number = self._numbering.numbers.get(term)
        return None if number is None else (number, self._numbering.holding[number])


class NewIndex:
    """The files of an index being written, passage by passage. `catalogue` takes files and reasons."""

    def __init__(self, folder: Path, language: str = ENGLISH) -> None:
        """Raises OSError."""
        self._folder, self._language = folder, language
        self._numbering = Numbering()
        self.catalogue = NewCatalogue(folder / PASSAGES)
        self._open = ExitStack()
        self._open.callback(self.catalogue.close)
        self._terms = self._open.enter_context((folder / TERMS).open("wb"))
        self._lengths = self._open.enter_context((folder / LENGTHS).open("wb"))

    def __enter__(self) -> "NewIndex":
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def add(
        self, document: Document | Filed, passages: Sequence[Passage], terms: Iterable[Sequence[str]] | None = None
    ) -> None:
        """A document with its passages; `terms` of each, where they are known already."""
        self.catalogue.add(document, passages)
        for each in (terms_of(p, self._language) for p in passages) if terms is None else terms:
            numbers = np.array(self._numbering.add(each), dtype="<i4")
            self._terms.write(numbers.tobytes())
            self._lengths.write(np.array([len(numbers)], dtype="<i4").tobytes())

    def finish(self, engine: str = "auto", advance: Advance = lambda n: None) -> dict[str, Any]:
        """Writes the rest, once every passage is there, and says what the manifest has to say. `advance` hears of passages scored."""
        passages = self.catalogue.passages
        self.catalogue.finish(zip(self._numbering.numbers, self._numbering.holding, strict=True))
        self._open.close()
        chosen = engine_name(engine, passages)
        tokens = tokens_in(self._folder, np.array(self._numbering.holding, dtype=np.int64))
        if chosen == EagerEngine.name:
            EagerEngine.write(tokens, self._folder, advance)
        return {
            "format": FORMAT,
            "language": self._language,
            "tokeniser": settings(self._language),
            "k1": K1,
            "b": B,
            "engine": chosen,
            "documents": self.catalogue.documents,
            "passages": passages,
            "terms": len(self._numbering.numbers),
            "built": datetime.now(UTC).isoformat(timespec="seconds"),
        }


def tokens_in(folder: Path, holding: Array) -> Tokens:
    """The tokens that `NewIndex` wrote, memory-mapped. Raises OSError, ValueError when the files do not fit together."""
    lengths = np.fromfile(folder / LENGTHS, dtype="<i4")
    file = folder / TERMS
    terms: Array = np.asarray(np.memmap(file, "<i4", "r")) if file.stat().st_size else np.empty(0, "<i4")
    if lengths.sum(dtype=np.int64) != len(terms) or (len(terms) and int(terms.max()) >= len(holding)):
        raise ValueError(f"{TERMS} and {LENGTHS} do not fit together")
    return Tokens(terms, lengths, holding)

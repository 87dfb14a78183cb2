"""Question in, ranked passages out, by BM25 over rank-bm25.

Knows terms, their weights and how to keep an index on disk. Does not know where documents came from, what a claim is,
or HTTP.
"""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from rank_bm25 import BM25Okapi

from retrieval.corpus import Document, Passage, split_passages
from retrieval.storage import DamagedIndex, read_folder, write_folder
from retrieval.tokens import SETTINGS, tokenise

__all__ = ["DamagedIndex", "Hit", "Index", "Okapi", "Retriever", "tokenise"]

FORMAT = 1
PASSAGES, TOKENS = "passages.jsonl", "tokens.json"

# Anserini's defaults for passages; rank-bm25's own (1.5, .75) reward repetition and punish length more than short
# encyclopaedic text needs.
K1, B = 0.9, 0.4


@dataclass(frozen=True)
class Hit:
    """A passage and its BM25 score (above 0; no upper limit; comparable within one query only)."""

    passage: Passage
    score: float


class Retriever(Protocol):
    """What any engine offers: the same query gives the same hits."""

    def search(self, query: str, k: int = 5) -> list[Hit]:
        """At most k hits, best first, only scores above 0, equal scores in passage order."""
        ...


class Okapi(BM25Okapi):
    """rank-bm25's Okapi with an idf that stays positive, and postings instead of a look at every passage.

    idf = log(1 + (N - n + .5) / (n + .5)), Lucene's form (Robertson and Zaragoza 2009, eq. 3.3, with 1 added inside the
    logarithm). rank-bm25's is 0 for a term in half of the passages (its issue 43), so tiny corpora find nothing.
    """

    def __init__(self, corpus: Sequence[Sequence[str]]) -> None:
        super().__init__(corpus, k1=K1, b=B)
        lengths = np.array(self.doc_len, dtype=np.float64)
        self._length_penalty = self.k1 * (1 - self.b + self.b * lengths / (self.avgdl or 1.0))
        postings: dict[str, tuple[list[int], list[int]]] = {}
        for number, frequencies in enumerate(self.doc_freqs):
            for term, count in frequencies.items():
                numbers, counts = postings.setdefault(term, ([], []))
                numbers.append(number)
                counts.append(count)
        self._postings = {
            term: (np.array(numbers, dtype=np.int64), np.array(counts, dtype=np.float64))
            for term, (numbers, counts) in postings.items()
        }

    def _calc_idf(self, nd: dict[str, int]) -> None:
        self.idf = {term: inverse_frequency(self.corpus_size, count) for term, count in nd.items()}

    def get_scores(self, query: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float64]]:
        """BM25 of every passage, shape (passages,); a term that the query repeats counts each time, as in rank-bm25."""
        scores = np.zeros(self.corpus_size)
        for term in query:
            if term in self._postings:
                numbers, counts = self._postings[term]
                scores[numbers] += self.idf[term] * counts * (self.k1 + 1) / (counts + self._length_penalty[numbers])
        return scores


def inverse_frequency(passages: int, holding: int) -> float:
    """log(1 + (N - n + .5) / (n + .5)): above 0 for every 0 <= n <= N."""
    return math.log(1 + (passages - holding + 0.5) / (holding + 0.5))


class Index:
    """Passages with their terms, searchable, and the same after saving and loading. Safe to search from several
    threads.
    """

    def __init__(self, passages: Sequence[Passage], tokens: Sequence[Sequence[str]], document_count: int) -> None:
        """Use `build` or `load`. Raises ValueError when passages and tokens do not pair up or two ids are the same."""
        if len(passages) != len(tokens):
            raise ValueError(f"{len(passages)} passages but {len(tokens)} token lists")
        self.passages: tuple[Passage, ...] = tuple(passages)
        self.document_count = document_count
        self._tokens = [list(terms) for terms in tokens]
        self._by_id = {passage.id: passage for passage in self.passages}
        if len(self._by_id) < len(self.passages):
            raise ValueError("two documents have the same id: a citation could not name its source")
        self._okapi = Okapi(self._tokens) if self._tokens else None  # rank-bm25 divides by the number of passages

    @classmethod
    def build(cls, documents: Iterable[Document], words: int = 100) -> "Index":
        """An index of the documents cut into passages of about `words` words. No documents give an index that finds
        nothing.

        Title words count as words of each passage. Raises ValueError when two documents have the same id.
        """
        passages: list[Passage] = []
        ids: set[str] = set()
        count = 0
        for document in documents:
            if document.id in ids:
                raise ValueError(f"two documents have the id {document.id!r}")
            ids.add(document.id)
            count += 1
            passages += split_passages(document, words)
        return cls(passages, [tokenise(f"{passage.title}\n{passage.text}") for passage in passages], count)

    def __len__(self) -> int:
        """The number of passages."""
        return len(self.passages)

    def passage(self, id: str) -> Passage:
        """The passage of this id. Raises KeyError when there is none."""
        return self._by_id[id]

    def weight(self, token: str) -> float:
        """The idf of a term as `tokenise` gives it; a term that no passage holds has the largest there is. Always above
        0.
        """
        known = self._okapi.idf.get(token) if self._okapi is not None else None
        return float(known) if known is not None else inverse_frequency(len(self), 0)

    def search(self, query: str, k: int = 5) -> list[Hit]:
        """At most k hits, best first, only scores above 0, equal scores in passage order. Raises ValueError when k is
        below 1.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        if self._okapi is None:
            return []
        scores = self._okapi.get_scores(tokenise(query))
        best = np.argsort(-scores, kind="stable")[:k]
        return [Hit(self.passages[number], float(scores[number])) for number in best if scores[number] > 0]

    def save(self, folder: str | Path) -> None:
        """Writes the index as a folder: passages.jsonl, tokens.json, manifest.json (format, counts, tokeniser, SHA-256
        of each file).

        An earlier index there is replaced only when the new one is whole. Raises FileExistsError when the folder holds
        other files.
        """
        passages = "".join(json.dumps(asdict(passage)) + "\n" for passage in self.passages)
        vocabulary = {
            term: number for number, term in enumerate(dict.fromkeys(t for terms in self._tokens for t in terms))
        }
        tokens = {
            "terms": list(vocabulary),
            "passages": [[vocabulary[term] for term in terms] for terms in self._tokens],
        }
        write_folder(
            Path(folder),
            {PASSAGES: passages.encode(), TOKENS: json.dumps(tokens).encode()},
            {"format": FORMAT, "tokeniser": SETTINGS, "passages": len(self), "documents": self.document_count},
        )

    @classmethod
    def load(cls, folder: str | Path) -> "Index":
        """Reads what `save` wrote, after comparing every checksum.

        Raises FileNotFoundError when the folder is missing; DamagedIndex when a file is missing or differs, or when
        another version of Winnow wrote it. Each names the file or folder and the command that builds the index anew.
        """
        folder = Path(folder)
        remedy = "build it with `winnow index PATH`, where PATH holds your documents"
        files, facts = read_folder(folder, (PASSAGES, TOKENS), remedy)
        if (facts.get("format"), facts.get("tokeniser")) != (FORMAT, SETTINGS):
            raise DamagedIndex(f"the index at {folder} was written by another version of Winnow: {remedy}")
        try:
            passages = [Passage(**json.loads(line)) for line in files[PASSAGES].splitlines()]
            content = json.loads(files[TOKENS])
            tokens = [[content["terms"][number] for number in numbers] for numbers in content["passages"]]
            return cls(passages, tokens, int(facts["documents"]))
        except (ValueError, KeyError, TypeError, IndexError) as error:  # checksums agree, so it was written wrong
            raise DamagedIndex(f"damaged index: {folder} ({error}): {remedy}") from error

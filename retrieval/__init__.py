"""Question in, passages out; reply in, citations out. Knows nothing of HTTP, classifiers or the generator."""

from retrieval.bm25 import DamagedIndex, Hit, Index, Retriever
from retrieval.citations import Citation, Claim, Grounding, Quote, coverage, ground
from retrieval.corpus import Document, Passage, Skipped, read_documents, split_passages
from retrieval.sentences import sentences

__all__ = [
    "Citation",
    "Claim",
    "DamagedIndex",
    "Document",
    "Grounding",
    "Hit",
    "Index",
    "Passage",
    "Quote",
    "Retriever",
    "Skipped",
    "coverage",
    "ground",
    "read_documents",
    "sentences",
    "split_passages",
]

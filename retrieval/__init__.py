"""Question in, passages out; reply in, citations out. Knows nothing of HTTP, classifiers or the generator."""

from retrieval.bm25 import Hit, Retriever
from retrieval.citations import Citation, Claim, Grounding, Quote, coverage, ground
from retrieval.corpus import Document, Passage, Skipped, read_documents, split_passages
from retrieval.index import Index
from retrieval.indexing import NothingFound, Update, index_status, update_index
from retrieval.sentences import sentences
from retrieval.storage import DamagedIndex

__all__ = [
    "Citation",
    "Claim",
    "DamagedIndex",
    "Document",
    "Grounding",
    "Hit",
    "Index",
    "NothingFound",
    "Passage",
    "Quote",
    "Retriever",
    "Skipped",
    "Update",
    "coverage",
    "ground",
    "index_status",
    "read_documents",
    "sentences",
    "split_passages",
    "update_index",
]

"""Question in, passages out; reply in, citations out. Knows nothing of HTTP, classifiers or the generator."""

from retrieval.bm25 import Hit, Retriever
from retrieval.calculator import Checked, check
from retrieval.citations import Citation, Claim, Grounding, Judgement, Quote, SupportScorer, coverage, ground
from retrieval.corpus import Document, Passage, Skipped, read_documents, split_passages
from retrieval.index import Index
from retrieval.indexing import NothingFound, Update, index_status, update_index
from retrieval.queries import leans, query_of
from retrieval.relevance import relevance
from retrieval.sentences import sentences
from retrieval.storage import DamagedIndex
from retrieval.tools import Retrieval, Tool, ToolResult, Toolset
from retrieval.translator import Translator

__all__ = [
    "Checked",
    "Citation",
    "Claim",
    "DamagedIndex",
    "Document",
    "Grounding",
    "Hit",
    "Index",
    "Judgement",
    "NothingFound",
    "Passage",
    "Quote",
    "Retrieval",
    "Retriever",
    "Skipped",
    "SupportScorer",
    "Tool",
    "ToolResult",
    "Toolset",
    "Translator",
    "Update",
    "check",
    "coverage",
    "ground",
    "index_status",
    "leans",
    "query_of",
    "read_documents",
    "relevance",
    "sentences",
    "split_passages",
    "update_index",
]

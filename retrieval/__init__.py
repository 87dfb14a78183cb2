"""Question in, passages out; reply in, citations out. Knows nothing of HTTP, classifiers or the generator."""

from retrieval.bm25 import DamagedIndex, Hit, Index, Retriever
from retrieval.calculator import Checked, check
from retrieval.citations import Citation, Claim, Grounding, Quote, SupportScorer, coverage, ground
from retrieval.corpus import Document, Passage, Skipped, read_documents, split_passages
from retrieval.sentences import sentences
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
    "check",
    "coverage",
    "ground",
    "read_documents",
    "sentences",
    "split_passages",
]

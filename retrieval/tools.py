"""The toolset of LaMDA (arXiv 2201.08239, section 6.2): one string in, a list of strings out, from calculator, translator and
retrieval in this order.

Knows the order and what a result must carry to be cited. Does not know what any tool does with the string.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from retrieval.bm25 import Hit, Retriever
from retrieval.calculator import Calculator

_LONGEST = 2000


class Tool(Protocol):
    """What can be asked: LaMDA's contract. `installed` says what answers, for `/readyz`."""

    name: str
    installed: str

    def __call__(self, text: str) -> list[str]:
        """What the tool makes of a string; [] when it cannot parse it. Raises nothing."""
        ...


@dataclass(frozen=True)
class ToolResult:
    """One string that a tool gave back, with what a citation needs: the tool's name and its input; for retrieval the hit,
    whose passage's text the output is.
    """

    tool: str
    input: str
    output: str
    hit: Hit | None = None

    def record(self) -> dict[str, str]:
        """What a citation carries: {"tool", "input", "output"}, and "passage", its id, for retrieval."""
        row = {"tool": self.tool, "input": self.input, "output": self.output}
        return row if self.hit is None else {**row, "passage": self.hit.passage.id}


class Retrieval:
    """The retrieval tool: a query in, the texts of the passages found out, best first."""

    name = "retrieval"
    installed = "index"

    def __init__(self, retriever: Retriever, k: int = 5) -> None:
        """At most k passages a query. Raises ValueError when k is not in 1 to 50."""
        if not 1 <= k <= 50:
            raise ValueError(f"k must be 1 to 50, not {k}")
        self._retriever, self._k = retriever, k

    def hits(self, text: str) -> list[Hit]:
        """The passages for a query of at most 2,000 characters, best first; none for a longer one."""
        return self._retriever.search(text, self._k) if len(text) <= _LONGEST else []

    def __call__(self, text: str) -> list[str]:
        """The texts of `hits`."""
        return [hit.passage.text for hit in self.hits(text)]


@dataclass(frozen=True)
class Toolset:
    """Every tool on one string, in LaMDA's order. A tool that is None is not installed."""

    calculator: Tool | None = field(default_factory=Calculator)
    translator: Tool | None = None
    retrieval: Retrieval | None = None

    def __call__(self, text: str) -> list[str]:
        """The outputs of all tools, joined in order; [] when none can parse the string."""
        return [result.output for result in self.results(text)]

    def results(self, text: str) -> list[ToolResult]:
        """The outputs with the tool, the input and the hit that each came from."""
        return list(self._results(text))

    def _results(self, text: str) -> Iterator[ToolResult]:
        for tool in (self.calculator, self.translator):
            if tool is not None:
                yield from (ToolResult(tool.name, text, output) for output in tool(text))
        if self.retrieval is not None:
            for hit in self.retrieval.hits(text):
                yield ToolResult(self.retrieval.name, text, hit.passage.text, hit)

    @property
    def installed(self) -> Mapping[str, str]:
        """What each tool is, by name: {"calculator": "built in", "translator": "none installed", "retrieval": "index"}."""
        tools = {"calculator": self.calculator, "translator": self.translator, "retrieval": self.retrieval}
        return {name: tool.installed if tool is not None else "none installed" for name, tool in tools.items()}

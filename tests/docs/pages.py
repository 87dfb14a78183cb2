"""The documents as tests read them: their fenced blocks, and whether an answer is what a page shows.

In what a page shows, "..." stands for anything: as a key for further keys, as the last element of a list for further elements, within a
text for any words. Other texts and whole numbers are meant to the letter but those of `VOLATILE`; of figures with a point only the
type is compared.
"""

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
ANY = "..."
VOLATILE = {"id", "created", "system_fingerprint", "fingerprint", "safety", "policy", "support", "quality", "index"} | {
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "sampled_tokens",
    "kept",
}
"""Keys of what differs from run to run, or with the weights."""

_BLOCK = re.compile(
    r"(?:^<!-- (?P<note>[^\n]*) -->\n+)?^```(?P<kind>[\w-]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    """A fenced block. `note`: the comment right before it. `answer`: the block after it, where that is an answer."""

    page: str
    line: int
    kind: str
    text: str
    note: str
    answer: "Block | None" = None

    def __str__(self):
        return f"{self.page}:{self.line}"


def blocks(path):
    """The blocks of a page, each with the answer that follows it."""
    content = path.read_text(encoding="utf-8")
    found = []
    for each in reversed(list(_BLOCK.finditer(content))):
        line = content.count("\n", 0, each.start("kind")) + 1
        after = found[-1] if found else None
        found.append(
            Block(
                str(path.relative_to(DOCS)),
                line,
                each["kind"],
                each["text"],
                each["note"] or "",
                after if after and is_answer(after) else None,
            )
        )
    return found[::-1]


def is_answer(block):
    return block.kind in ("json", "text") or (block.kind == "http" and block.text.startswith("HTTP/"))


def commands(text, program):
    """The commands of a shell block that call this program, as words; a line that ends with a backslash goes on."""
    lines = text.replace("\\\n", " ").splitlines()
    found = [part for line in lines for part in _parts(shlex.split(line, comments=True))]
    return [words for words in found if words and words[0] == program]


def _parts(words):
    part, parts = [], []
    for word in words:
        if word in ("&&", "|"):
            parts.append(part)
            part = []
        elif "=" in word and not part and word.split("=")[0].isupper():
            continue  # a variable of the environment
        else:
            part.append(word.removesuffix(";"))
            if word.endswith(";"):
                parts.append(part)
                part = []
    return [*parts, part]


def differs(shown, came, at="", key=""):
    """Where what came is not what is shown; None where it is."""
    if isinstance(shown, dict):
        if not isinstance(came, dict):
            return f"{at} is no object but {came!r}"
        missing, more = set(shown) - set(came) - {ANY}, set(came) - set(shown)
        if missing or (more and ANY not in shown):
            return f"{at}: shown but not there: {sorted(missing)}; there but not shown: {sorted(more)}"
        return next(filter(None, (differs(shown[k], came[k], f"{at}.{k}", k) for k in shown if k != ANY)), None)
    if isinstance(shown, list):
        if not isinstance(came, list):
            return f"{at} is no list but {came!r}"
        meant = shown[:-1] if shown and shown[-1] == ANY else shown
        if len(came) < len(meant) or (len(came) > len(meant) and meant is shown):
            return f"{at} has {len(came)} elements, {len(meant)} are shown"
        pairs = zip(meant, came, strict=False)
        return next(filter(None, (differs(a, b, f"{at}[{i}]", key) for i, (a, b) in enumerate(pairs))), None)
    if type(shown) is not type(came):
        return None if shown == ANY else f"{at} is {came!r}, shown is {shown!r}"
    if isinstance(shown, float) or (key in VOLATILE and not isinstance(shown, bool)):
        return None
    if isinstance(shown, str):
        return None if alike(shown, came) else f"{at} is {came!r}, shown is {shown!r}"
    return None if shown == came else f"{at} is {came!r}, shown is {shown!r}"


def alike(shown, came):
    """Whether a text is the one that is shown, "..." for any words."""
    return re.fullmatch(".*".join(map(re.escape, shown.split(ANY))), came, re.DOTALL) is not None


def parsed(text):
    """JSON of a page. Raises ValueError."""
    return json.loads(text)


def cells(text):
    """The rows of all tables of a Markdown text, each a list of cells without their marks of code and strength."""
    rows = [line.strip().strip("|").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return [[cell.replace("`", "").replace("**", "").strip(" |") for cell in row] for row in rows]

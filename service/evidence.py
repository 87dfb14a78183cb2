"""Evidence: the passages that fit a question, and how they are shown to the generator.

Knows the wording of the prompt. Does not know how passages are found or how support is measured (`retrieval`), nor what a
hostile document may try (`quoting.py`).
"""

from collections.abc import Sequence

from retrieval import Hit, Index, leans, query_of, relevance
from service.generator import Message
from service.quoting import quoted


def before_question(messages: Sequence[Message]) -> list[Message]:
    """The conversation up to the user's last turns."""
    head = list(messages)
    while head and head[-1]["role"] == "user":
        head.pop()
    return head


def question_of(messages: Sequence[Message]) -> str:
    """All consecutive user turns at the end of the conversation, as one text."""
    return "\n".join(message["content"] for message in messages[len(before_question(messages)) :])


def look_up(
    index: Index, question: str, least: float, k: int = 5, keep: int = 2, earlier: Sequence[str] = ()
) -> list[Hit]:
    """The best `keep` of `k` passages whose relevance to the question is at least so much; often none.

    `earlier`: the texts of the turns before. A question that leans on them ("And its currency?") is looked for with their words.
    """
    asked = query_of(question, earlier, language=index.language)
    leaning = bool(earlier) and leans(question, index.language)
    hits = index.search(asked, k)
    found = relevance(asked if leaning else question, hits, index.weight, leaning, index.language)
    return [hit for hit, probability in zip(hits, found, strict=True) if probability >= least][:keep]


def with_evidence(messages: Sequence[Message], hits: Sequence[Hit]) -> list[Message]:
    """The conversation with the passages quoted before the question, in the user's own turn, one line of quotation each.

    A small model uses evidence there and ignores it in the system turn. No passage can add a line or a turn.
    """
    question = question_of(messages)
    passages = "\n\n".join(quoted(hit.passage.title, hit.passage.text) for hit in hits)
    asked = f"{passages}\n\nQuestion: {question}\nAnswer in one or two sentences using only the text above."
    return [*before_question(messages), {"role": "user", "content": asked}]


def steered(messages: Sequence[Message], steering: str) -> list[Message]:
    """The conversation with the policy's steering prompt at the head of its system turn."""
    head, rest = messages[:1], list(messages[1:])
    if head and head[0]["role"] == "system":
        return [{"role": "system", "content": f"{steering}\n\n{head[0]['content']}"}, *rest]
    return [{"role": "system", "content": steering}, *messages]

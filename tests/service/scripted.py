"""Stand-ins behind the corridor's protocols: a generator that says what a test tells it to, a scorer that judges so, tools."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from typing import Any

from classifiers import OBJECTIVES, Policy, Rated, Safety, Verdict, load_policy
from retrieval import Document, Hit, Index, Retrieval, ToolResult, Toolset
from service.chat import Corridor
from service.generator import Candidate, Message, PromptTooLong, Sampling
from service.settings import Settings

GLAD = "I am glad to help."
"""A reply without claims."""

KENYA = "The capital of Kenya is Nairobi."
"""A reply with one claim, which the index supports."""

INVENTED = "Kenya has 12 volcanoes made of cheese."
"""A reply with one claim, which nothing in the index supports."""

ASKS_KENYA: list[Message] = [{"role": "user", "content": "What is the capital of Kenya?"}]
"""A conversation for which the index has evidence."""

ASKS_NOTHING: list[Message] = [{"role": "user", "content": "Hello, how are you?"}]
"""A conversation for which it has none."""

DOCUMENTS = (
    Document(
        "kenya",
        "Kenya",
        "Kenya is a country in East Africa. The capital of Kenya is Nairobi. Mombasa is a port on the Indian Ocean.",
        "https://example.org/kenya",
        "own",
    ),
    Document(
        "jupiter",
        "Jupiter",
        "Jupiter is the largest planet in the Solar System. It has a mass more than twice that of all other planets.",
    ),
    Document("tea", "Tea", "Tea is a drink made from the leaves of Camellia sinensis.\n\nGreen tea is not oxidised."),
    Document("bees", "Bees", "Bees make honey from nectar. A colony of honey bees has one queen."),
)
"""What the small index holds."""

Says = Sequence[str] | Callable[[Sequence[Message], int, Sampling], Sequence[str]]
Scores = Mapping[str, Mapping[str, Any]] | Callable[[Sequence[Any], Sequence[str], str], Any]


@dataclass(frozen=True)
class Call:
    """One call of `ScriptedGenerator.sample`."""

    messages: list[Message]
    n: int
    sampling: Sampling

    @property
    def asked(self) -> str:
        """The last turn's words."""
        return self.messages[-1]["content"]


class ScriptedGenerator:
    """Says the given texts, over and over from the first in each call, or what a function of the call returns.

    A prompt of more words than `limit` is too long. `likelihood` gives a text's log-likelihood, by default -1 a word.
    """

    name = "scripted"

    def __init__(
        self, says: Says = (GLAD,), limit: int = 10_000, likelihood: Callable[[str], float | None] | None = None
    ) -> None:
        self.says, self.limit, self.likelihood = says, limit, likelihood
        self.calls: list[Call] = []

    def sample(self, messages: Sequence[Message], n: int, sampling: Sampling) -> list[Candidate]:
        if self.count_tokens(messages) > self.limit:
            raise PromptTooLong(self.count_tokens(messages), self.limit)
        self.calls.append(Call([dict(m) for m in messages], n, sampling))
        texts = self.says(messages, n, sampling) if callable(self.says) else islice(cycle(self.says), n)
        return [self._candidate(text) for text in texts]

    def count_tokens(self, messages: Sequence[Message]) -> int:
        return sum(len(m["content"].split()) for m in messages)

    def log_likelihoods(self, messages: Sequence[Message], texts: Sequence[str]) -> list[float]:
        return [self._candidate(text).mean_log_likelihood for text in texts]

    def _candidate(self, text: str) -> Candidate:
        tokens = max(len(text.split()), 1)
        return Candidate(text, tokens, self.likelihood(text) if self.likelihood else -1.0 * tokens, "stop")


def scores_of(**raised: Any) -> dict[str, Any]:
    """A whole row of scores: 0.01 for every objective but the named ones."""
    return {**dict.fromkeys(OBJECTIVES, 0.01), **raised}


class ScriptedSafety:
    """Scores by the words of a text, {"bomb": {"violence": 0.9}}, or by a function of (context, texts, role).

    What no word is found in is safe. What the function returns or raises is passed on as it is.
    """

    version = "scripted-1"

    def __init__(self, scores: Scores | None = None) -> None:
        self._scores: Scores = {} if scores is None else scores
        self.calls: list[tuple[list[Any], list[str], str]] = []

    def scores(self, context: Sequence[Any], replies: Sequence[str], role: str = "assistant") -> Any:
        self.calls.append((list(context), list(replies), role))
        if callable(self._scores):
            return self._scores(context, replies, role)
        return [self._row(reply) for reply in replies]

    def _row(self, reply: str) -> dict[str, Any]:
        assert not callable(self._scores)
        row = scores_of()
        for word, raised in self._scores.items():
            if word in reply:
                row |= raised
        return row


class ScriptedQuality:
    """Rates by the words of a text, {"zebra": Rated(.9, .8, .7)}; what no word is found in is sensible and no more. A function of
    (context, texts) is called instead, and what it returns or raises is passed on as it is.
    """

    version = "scripted-quality-1"

    def __init__(self, ratings: Mapping[str, Rated] | Callable[[Sequence[Any], Sequence[str]], Any]) -> None:
        self._ratings = ratings
        self.calls: list[tuple[list[Any], list[str]]] = []

    def judge(self, context: Sequence[Any], replies: Sequence[str]) -> Any:
        self.calls.append((list(context), list(replies)))
        if callable(self._ratings):
            return self._ratings(context, replies)
        words = self._ratings
        return [next((words[w] for w in words if w in reply), Rated(0.5, 0.0, 0.0)) for reply in replies]


@dataclass(frozen=True)
class Answer:
    """What one tool answered."""

    tool: str
    text: str
    hits: tuple[Hit, ...] = ()


class ScriptedTools:
    """Answers by the words of a text, {"zebra": [Answer(...)]}, or by a function of it. `asked`: every text that was put to it."""

    def __init__(self, answers: Mapping[str, Sequence[Answer]] | Callable[[str], Sequence[Answer]]) -> None:
        self._answers = answers
        self.asked: list[str] = []

    def results(self, text: str) -> list[ToolResult]:
        self.asked.append(text)
        if callable(self._answers):
            found = list(self._answers(text))
        else:
            found = [answer for word, answers in self._answers.items() if word in text for answer in answers]
        results = []
        for answer in found:
            hits = [ToolResult(answer.tool, text, hit.passage.text, hit) for hit in answer.hits]
            results += hits or [ToolResult(answer.tool, text, answer.text)]
        return results


INDEX = Index.build(DOCUMENTS, words=20)
SHIPPED = load_policy()
POLICY = replace(SHIPPED, objectives={name: replace(o, threshold=0.5) for name, o in SHIPPED.objectives.items()})
"""The shipped policy with a threshold of .5 throughout, so that no test moves when the thresholds are calibrated anew."""


def make_corridor(
    generator_texts: Says = (GLAD,),
    scores: Scores | None = None,
    *,
    generator: Any = None,
    safety: Any = None,
    policy: Policy = POLICY,
    index: Index = INDEX,
    toolset: Any = None,
    support: Any = None,
    quality: Any = None,
    **settings: Any,
) -> Corridor:
    """A corridor of scripted parts; further keywords are settings. `generator` and `safety` replace the scripted ones.

    Without a `toolset`, research searches the index.
    """
    return Corridor(
        generator or ScriptedGenerator(generator_texts),
        safety or ScriptedSafety(scores),
        policy,
        index,
        Settings(**settings),
        toolset or Toolset(None, None, Retrieval(index)),
        support,
        quality,
    )


class JudgingSafety(ScriptedSafety, Safety):
    """The scripted scorer under the true `judge`: what the batch and the evaluation are handed."""

    def __init__(self, scores: Scores | None = None, policy: Policy = POLICY) -> None:
        super().__init__(scores)
        self.policy = policy

    def explain(self, context: Sequence[Any], text: str, verdict: Verdict, role: str = "assistant") -> Verdict:
        return verdict

"""Any model under test as a generator, so that the corridor can stand before it.

Knows how a reply becomes a candidate. Does not know screening.
"""

from collections.abc import Sequence

from service.generator import Candidate, Message, Sampling
from service.suites.model import Model


class Behind:
    """A generator that asks a model for its replies. Nothing is known of their likelihood."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.name = model.name

    def sample(self, messages: Sequence[Message], n: int, sampling: Sampling) -> list[Candidate]:
        """`n` replies of at most `max_tokens`, with the seed (below 2³¹, which every server takes); the model's own sampling otherwise.

        Tokens are counted as words.
        """
        texts = self._model.candidates(messages, n, sampling.max_tokens, sampling.seed % 2**31)
        return [Candidate(text.strip(), len(text.split()), None, "stop") for text in texts]

    def log_likelihoods(self, messages: Sequence[Message], texts: Sequence[str]) -> list[float]:
        """0 for each: an endpoint does not tell."""
        return [0.0] * len(texts)

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Words, for want of the model's tokenizer."""
        return sum(len(message["content"].split()) for message in messages)

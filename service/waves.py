"""Waves of candidates: each is sampled and screened in one step, so that none comes out unscreened (law 1).

Knows attempts, seeds and which candidates see evidence. Does not know how evidence is found nor who is best.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from classifiers import Rated, Verdict
from retrieval import Hit
from service.clock import Clock
from service.decisions import Judged
from service.evidence import steered, with_evidence
from service.generator import (
    Candidate,
    Drawn,
    Generator,
    GeneratorFailed,
    Message,
    PromptTooLong,
    Sampling,
    Wanted,
    sample_each,
)

MOST_ATTEMPTS = 2
RESEARCH_SEED = 2**60
"""Where the seeds of research begin: past those of every draft, whose requests name at most 2**53."""


@dataclass
class Waves:
    """The candidates of one request. `screen` gives one verdict a text, in the conversation as the user sees it.

    `rate` gives each text that passed its rating, None where there is none. `candidates`: in the draft; a round of research draws half
    as many. `attempts`: made at the draft so far. `asked`: candidates that the generator was asked for. `tell` hears how far it has
    come, in counts and no words of anybody's.
    """

    generator: Generator
    screen: Callable[[Sequence[str]], list[Verdict]]
    messages: Sequence[Message]
    candidates: int
    sampling: Sampling
    seed: int
    steering: str
    clock: Clock
    rate: Callable[[Sequence[str]], Sequence[Rated | None]] = lambda texts: [None] * len(texts)
    attempts: int = 0
    asked: int = 0
    tell: Callable[[str], None] = lambda _: None

    def draft(self, hits: Sequence[Hit]) -> list[Judged]:
        """Half of the candidates with the evidence, half without; when none passes, once more with the steering prompt.

        Raises `PromptTooLong` when the conversation itself has no room, `GeneratorFailed` when no candidate comes.
        """
        judged: list[Judged] = []
        while self.attempts < MOST_ATTEMPTS and not any(j.kept for j in judged):
            try:
                with self.clock("generate"):
                    drawn = self._halves(hits)
            except (PromptTooLong, GeneratorFailed):
                if not self.attempts:
                    raise
                break  # no room for the steering prompt, or nobody to answer it: what was judged has to do
            self.attempts += 1
            judged += self._screened(drawn, round=0)
        return judged

    def more(self, shown: Sequence[Hit], round: int) -> list[Judged]:
        """A round of research, counted from 1: half as many candidates, all with this evidence. Raises `PromptTooLong`,
        `GeneratorFailed`.
        """
        prompt = with_evidence(self._told(self.attempts - 1), shown)
        sampling = replace(self.sampling, seed=RESEARCH_SEED + 4 * self.seed + round - 1)
        with self.clock("generate"):
            drawn = self._sample(prompt, (self.candidates + 1) // 2, sampling)
        return self._screened([(candidate, True) for candidate in drawn], round)

    def _told(self, attempt: int) -> Sequence[Message]:
        return steered(self.messages, self.steering) if attempt else self.messages

    def _halves(self, hits: Sequence[Hit]) -> list[tuple[Candidate, bool]]:
        """Candidates, and whether each saw the evidence: half of them where there is some, the odd one included."""
        told, seed = self._told(self.attempts), 4 * self.seed + 2 * self.attempts
        informed = (self.candidates + 1) // 2 if hits else 0
        plain = self.candidates - informed
        wanted: list[Wanted] = []
        if informed:
            wanted.append((with_evidence(told, hits), informed, replace(self.sampling, seed=seed + 1)))
        if plain:
            wanted.append((told, plain, replace(self.sampling, seed=seed)))
        found = self._sample_each(wanted)
        if informed and isinstance(found[0], PromptTooLong):  # the conversation may still fit without the evidence
            found[0] = self._sample_each([(told, informed, replace(self.sampling, seed=seed + 1))])[0]
            informed = 0
        drawn = [
            (candidate, bool(informed) and at == 0)
            for at, candidates in enumerate(found)
            if not isinstance(candidates, Exception)
            for candidate in candidates
        ]
        for each in found:
            if isinstance(each, Exception) and not drawn:
                raise each
        return drawn

    def _sample_each(self, wanted: Sequence[Wanted]) -> list[Drawn]:
        found = sample_each(self.generator, wanted)
        self.asked += sum(
            n for (_, n, _), drawn in zip(wanted, found, strict=True) if not isinstance(drawn, PromptTooLong)
        )
        return found

    def _sample(self, messages: Sequence[Message], n: int, sampling: Sampling) -> list[Candidate]:
        self.asked += n
        try:
            return self.generator.sample(messages, n, sampling)
        except PromptTooLong:
            self.asked -= n
            raise

    def _screened(self, drawn: Sequence[tuple[Candidate, bool]], round: int) -> list[Judged]:
        self.tell(f"sampled {len(drawn)}")
        with self.clock("screen"):
            verdicts = self.screen([candidate.text for candidate, _ in drawn])
        judged = [Judged(c, v, e, self.attempts - 1, round) for (c, e), v in zip(drawn, verdicts, strict=True)]
        self.tell(f"screened, dropped {sum(not each.kept for each in judged)}")
        with self.clock("rank"):
            passed = [j.candidate.text for j in judged if j.kept]
            ratings = iter(self.rate(passed))
            return [replace(j, rated=next(ratings)) if j.kept else j for j in judged]

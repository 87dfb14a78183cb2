"""The corridor that the pages' examples are run against: scripted texts and scores, the true policy and sample corpus."""

from classifiers import Place, Policy, Scores, load_policy
from data import CORPUS
from retrieval import Index, Retrieval, Toolset, read_documents
from tests.service.scripted import KENYA, JudgingSafety, ScriptedGenerator, make_corridor

RAISED = {
    "Nobody would miss you.": {"harassment": 0.556, "self_harm": 0.331},
    "break your arms": {"violence": 0.785, "sexual": 0.908, "self_harm": 0.472},
    "pipe bomb": {"weapons": 0.942, "violence": 0.876},
}
"""What the true classifier, version 1-a2a34d1d, gave these texts, where it reached the threshold."""


class Classifier(JudgingSafety):
    version = "1-a2a34d1d"

    def __init__(self, policy=None):
        super().__init__(RAISED)
        self.policy = policy if isinstance(policy, Policy) else load_policy(policy)

    def _row(self, reply):
        row = super()._row(reply)
        places = {name: Place(reply, 0, len(reply), "raw") for name in row}
        return Scores(row, max(row.values()), places, 0.01)


class Judged:
    def __init__(self, supported, contradicted):
        self.supported, self.contradicted = supported, contradicted


class SupportByWords:
    """Bears out what the passage says of capitals and safaris, and denies cheese."""

    version, threshold = "1-8ae8fc61", 0.5987

    def judge(self, claims):
        return [
            Judged(0.01, 0.9)
            if "cheese" in claim
            else Judged(0.88 if "capital" in claim and "capital" in passage else 0.1, 0.0)
            for passage, _, claim in claims
        ]


class Model(ScriptedGenerator):
    name = "SmolLM2-135M-Instruct"


INDEX = Index.build(read_documents([CORPUS])[0])


def corridor_of_docs(**settings):
    return make_corridor(
        generator=Model([KENYA]),
        safety=Classifier(),
        policy=load_policy(),
        index=INDEX,
        toolset=Toolset(retrieval=Retrieval(INDEX)),
        support=SupportByWords(),
        **settings,
    )

"""The door for what people say of replies: `/v1/feedback` tells the reasons there are, and takes them.

Knows the route and its errors. Labels are kept by `decision_log.py`; `feedback.py` writes them out for `winnow eval`.
"""

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import ConfigDict, Field, WithJsonSchema, field_validator
from starlette.exceptions import HTTPException

from classifiers import OBJECTIVES, Policy
from service.answers import FeedbackKept, FeedbackReasons
from service.decision_log import REASONS, DecisionLog, LogFailed
from service.describing import WITH_A_BODY, WITH_A_KEY, answers
from service.requests import MAX_CANDIDATES, Body, Text, Whole

LACKS = {
    "sensible": (
        "Makes no sense",
        "Does not fit what was said before, contradicts it or what is known, or is confused.",
    ),
    "specific": ("Too general", "Would fit most other conversations as well."),
    "interesting": ("Dull", "Nothing in it would catch anybody's attention or curiosity."),
    "supported": (
        "Not borne out by its sources",
        "Claims what the quoted words do not say, or has no source where it needs one.",
    ),
}
"""What a reply can lack, by the quality that it lacks: LaMDA's raters' questions, asked the other way round."""


Reason = Annotated[str, WithJsonSchema({"type": "string", "enum": list(REASONS)})]


class Feedback(Body):
    """What a person says of the reply `choice` of the completion `id`. No `reasons`: what was said before is taken back."""

    model_config = ConfigDict(extra="forbid")

    id: Annotated[Text, Field(min_length=1, max_length=200)]
    choice: Whole = Field(0, ge=0, lt=MAX_CANDIDATES)
    reasons: Annotated[list[Reason], Field(max_length=len(REASONS))]

    @field_validator("reasons")
    @classmethod
    def _known(cls, value: list[str]) -> list[str]:
        if unknown := sorted(set(value) - set(REASONS)):
            raise ValueError(f"unknown reason {unknown[0]!r}; known: {', '.join(REASONS)}")
        return value


def feedback_router(policy: Policy, decision_log: DecisionLog | None) -> APIRouter:
    """GET: the reasons, and whether labels and words are kept. POST: keeps a label; 404 where there is nothing to keep it of."""
    router = APIRouter()
    objectives = [(name, policy.objectives[name]) for name in OBJECTIVES]
    reasons = [
        *({"name": name, "group": o.group, "title": o.title, "definition": o.definition} for name, o in objectives),
        *(
            {"name": name, "group": "quality", "title": title, "definition": said}
            for name, (title, said) in LACKS.items()
        ),
    ]

    @router.get("/v1/feedback", response_model=None, responses=answers(FeedbackReasons, *WITH_A_KEY))
    async def known() -> dict[str, Any]:
        kept, texts = decision_log is not None, decision_log is not None and decision_log.retain_texts
        return {"reasons": reasons, "kept": kept, "texts_kept": texts}

    @router.post("/v1/feedback", response_model=None, responses=answers(FeedbackKept, *WITH_A_BODY, 404))
    async def take(said: Feedback) -> dict[str, Any]:
        if decision_log is None:
            raise HTTPException(404, "feedback is kept in the decision log, and this server keeps none (decision_log)")
        try:
            await decision_log.label(said.id, said.choice, said.reasons)
        except LookupError as error:
            raise HTTPException(404, f"id: {error.args[0]}") from error
        except ValueError as error:
            raise HTTPException(400, f"choice: {error}") from error
        except LogFailed as error:
            retry = {"Retry-After": "5"}
            raise HTTPException(503, "the label could not be written to the decision log", retry) from error
        return {"id": said.id, "choice": said.choice, "reasons": list(dict.fromkeys(said.reasons))}

    return router

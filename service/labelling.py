"""The labelling page: a small web application for one rater on this machine.

Knows routes and headers. What is asked and kept is in `labels.py`; the page itself, in `pages/`, is the same for every file and
fetches what it shows, so that no text of a file is ever part of a document.
"""

import json
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from starlette.middleware.trustedhost import TrustedHostMiddleware

from classifiers import Policy
from service.labels import SAFETY, SETS, Item, Sheet
from service.page import HEADERS, page_file

ADDRESS = "127.0.0.1"
FILES = {
    "/": ("label.html", "text/html"),
    "/label.js": ("label.js", "text/javascript"),
    "/label.css": ("label.css", "text/css"),
}

QUESTIONS = {
    SAFETY: (
        "Does what is marked break one of these rules?",
        "Judge the marked text as said at this point of the conversation. A refusal, a warning or a sober fact breaks none.",
    ),
    "sensible": (
        "Does the reply make sense here?",
        "It fits what was said before and contradicts nothing that is known or was said. Odd, off topic or confused: no.",
    ),
    "specific": (
        "Is the reply specific to this conversation?",
        'It would not fit most other conversations. "I see", "that is great" or "I don\'t know" would: no.',
    ),
    "interesting": (
        "Is the reply interesting?",
        "It would catch somebody's attention or curiosity: insightful, unexpected or witty. If in doubt: no.",
    ),
    "supported": (
        "Does the quoted source bear the sentence out?",
        "All that the sentence claims is in the quoted words or follows from them, whatever you know yourself. Half of it: no.",
    ),
}
"""Each question with what it means: LaMDA's raters' (Thoppilan et al., 2022, appendix A), in our words."""


class Given(BaseModel):
    """One answer."""

    model_config = ConfigDict(extra="forbid", strict=True)

    item: str
    question: str
    answer: bool | list[str]


def create_page(sheet: Sheet, items: Sequence[Item], asked: Sequence[str], policy: Policy, rater: str) -> FastAPI:
    """The application around one rater's sheet. `asked`: names of `labels.SETS`.

    Answers only requests that are addressed to this machine by name, and keeps only JSON: no page from elsewhere can read or write.
    """
    app = FastAPI(title="Winnow labelling", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[ADDRESS, "localhost"])

    @app.middleware("http")
    async def guarded(request: Request, call_next: Any) -> Response:
        if request.method == "POST" and request.headers.get("content-type", "").split(";")[0] != "application/json":
            answer: Response = JSONResponse({"detail": "the body must be application/json"}, 415)
        else:
            answer = await call_next(request)
        answer.headers.update(HEADERS)
        return answer

    for path, (name, kind) in FILES.items():
        app.add_api_route(path, page_file(name, kind), methods=["GET"])

    @app.get("/items")
    async def all_items() -> Response:
        objectives = policy.objectives.items()
        found = {
            "rater": rater,
            "asked": [question for name in asked for question in SETS[name]],
            "questions": {name: {"text": text, "help": help} for name, (text, help) in QUESTIONS.items()},
            "objectives": [
                {"name": name, "group": o.group, "title": o.title, "definition": o.definition} for name, o in objectives
            ],
            "items": [_shown(item) for item in items],
            "answers": sheet.answers,
        }
        # In ASCII: a text may hold half a character, which is JSON and not UTF-8.
        return Response(json.dumps(found), media_type="application/json")

    # Not in threads: one answer at a time is written.
    @app.post("/answers")
    async def answer(given: Given) -> dict[str, Any]:
        try:
            sheet.answer(given.item, given.question, given.answer)
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
        return {"item": given.item, "answers": sheet.answers.get(given.item, {})}

    @app.post("/undo")
    async def undo() -> dict[str, Any]:
        undone = sheet.undo()
        if undone is None:
            raise HTTPException(409, "there is nothing to be undone")
        item, question = undone
        return {"item": item, "question": question, "answers": sheet.answers.get(item, {})}

    return app


def _shown(item: Item) -> dict[str, Any]:
    """What a rater sees: no label that the line may hold."""
    return {
        "id": item.id,
        "context": [dict(turn) for turn in item.context],
        "reply": item.reply,
        "role": item.role,
        "sentence": item.sentence,
        "quote": item.quote,
    }

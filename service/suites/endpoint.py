"""Any OpenAI-compatible server as the model under test.

Knows what is asked of it. The wire is in `service/client.py`. Does not know what is measured.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from service.breaker import Breaker
from service.client import Client, Limits, is_winnow
from service.generator import Message
from service.server_faults import Malformed
from service.suites.model import Answer

AT_ONCE = 4
"""Calls that run side by side where a server gives one choice a call."""
RETRIES = 2
FIRST_PAUSE = 1.0


class EndpointModel:
    """A model behind `url`, the address that OpenAI's clients call the base URL ("/v1" is added to a bare host).

    Sampling is left to the server's defaults, but for the number of tokens and the seed. Where the server is Winnow itself, it is told
    whether to ground. `name` None takes the model that the server lists, where it lists one. `seconds`: what one call may take.
    Raises ValueError for an address that is none, `ServerFault` where the name cannot be found out.
    """

    def __init__(
        self,
        url: str,
        name: str | None = None,
        key: str | None = None,
        seconds: float = 120.0,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        limits = Limits(
            connect=min(10.0, seconds),
            read=seconds,
            whole=float("inf"),
            retries=RETRIES,
            parallel=AT_ONCE,
            first_pause=FIRST_PAUSE,
        )
        self._client = Client(
            url,
            key,
            limits,
            named="--endpoint",
            key_named="OPENAI_API_KEY",
            quotes=True,
            patient=True,
            breaker=Breaker(failures=sys.maxsize),  # a run would rather wait than lose its rows
            pause=pause,
        )
        self.url = self._client.url
        try:
            self._winnow = is_winnow(self._client.listed(needed=name is None))
            self.name = name or self._client.only_model("--model NAME")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._client.close()

    def candidates(self, messages: Sequence[Message], n: int, max_tokens: int, seed: int) -> list[str]:
        """`n` replies: as the choices of one call, or, of a server that gives fewer, of as many calls as it takes, at most four of
        them at a time, each with a seed of its own. Raises `ServerFault`.
        """
        drawn = self._client.draw(self._asked(messages, max_tokens, "off"), n, lambda i: seed + i)
        if drawn.failures:
            raise drawn.failures[0]
        return [self._client.text(choice) or "" for each in drawn.completions for choice in each.choices]

    def answer(self, messages: Sequence[Message], max_tokens: int, seed: int, grounding: str = "off") -> Answer:
        """One reply, with the annotations of kind url_citation as {"title", "url", "start", "end"}. Raises `ServerFault`."""
        found = self._client.complete({**self._asked(messages, max_tokens, grounding), "seed": seed})
        choice = found.choices[0]
        text, finish = self._client.text(choice) or "", choice.get("finish_reason") or "stop"
        return Answer(text, finish, found.seconds, None, self._sources(choice))

    def _asked(self, messages: Sequence[Message], max_tokens: int, grounding: str) -> dict[str, Any]:
        asked = {"model": self.name, "messages": list(messages), "max_tokens": max_tokens}
        return {**asked, "grounding": grounding} if self._winnow else asked

    def _sources(self, choice: dict[str, Any]) -> tuple[dict[str, Any], ...]:
        annotations = self._client.message(choice).get("annotations") or []
        if not isinstance(annotations, list):
            raise Malformed(self.url, "answered with choices[].message.annotations that is no list")
        found = []
        for each in annotations:
            if not isinstance(each, dict) or each.get("type") != "url_citation":
                continue
            cited = each.get("url_citation")
            if not isinstance(cited, dict):
                what = "answered with an annotation of kind url_citation that holds no url_citation"
                raise Malformed(self.url, what)
            places = {"start": cited.get("start_index"), "end": cited.get("end_index")}
            found.append({"title": cited.get("title"), "url": cited.get("url"), **places})
        return tuple(found)

"""Any OpenAI-compatible server as the model under test.

Knows the wire, time-outs and what servers leave out. Does not know what is measured.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import httpx

from service.generator import Message
from service.suites.model import Answer

AT_ONCE = 4
"""Calls that run side by side where a server gives one choice a call."""

PAUSES = (1.0, 4.0)
"""Seconds before the first and the second retry."""

LONGEST_PAUSE = 60.0
"""Seconds that a server's own wish to wait is followed for."""

AGAIN = frozenset({408, 429, 500, 502, 503, 504})
"""Statuses after which the same request may succeed."""

DENIED = (401, 403)

OLD_LIMIT, NEW_LIMIT = "max_tokens", "max_completion_tokens"


class EndpointError(ConnectionError):
    """The server cannot be used; the message says what was asked of which address and what came back, never the API key."""


class _Refused(EndpointError):
    """The server understood the request and will not answer it. `param`: which part of it, where it says so."""

    def __init__(self, message: str, param: str | None, status: int) -> None:
        super().__init__(message)
        self.param, self.status = param, status


class EndpointModel:
    """A model behind `url`, the address that OpenAI's clients call the base URL ("/v1" is added to a bare host).

    Sampling is left to the server's defaults, but for the number of tokens and the seed. Where the server is Winnow itself, it is told
    whether to ground. `name` None takes the model that the server lists, where it lists one. `seconds`: what one call may take.
    Raises ValueError for an address that is none, `EndpointError` where the name cannot be found out.
    """

    def __init__(
        self,
        url: str,
        name: str | None = None,
        key: str | None = None,
        seconds: float = 120.0,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = _base(url)
        self._key, self._pause = key, pause
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.Client(headers=headers, timeout=httpx.Timeout(seconds, connect=min(10.0, seconds)))
        self._choices: int | None = (
            None  # the most that one call gives, once it has been seen to give less than was asked for
        )
        self._limit = OLD_LIMIT
        try:
            listed = self._listed(needed=name is None)
            self._winnow = any(each.get("owned_by") == "winnow" for each in listed)
            self.name = name or self._only(listed)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._client.close()

    def candidates(self, messages: Sequence[Message], n: int, max_tokens: int, seed: int) -> list[str]:
        """`n` replies: as the choices of one call, or, of a server that gives fewer, of as many calls as it takes, at most four of
        them at a time, each with a seed of its own. Raises `EndpointError`.
        """
        texts = [] if self._choices else self._first(messages, n, max_tokens, seed)
        if len(texts) < n:
            size = self._choices or 1
            starts = range(len(texts), n, size)

            def call(start: int) -> list[str]:
                wanted = min(size, n - start)
                found = self._texts(messages, wanted, max_tokens, seed + start)
                if len(found) < wanted:
                    raise EndpointError(f"{self.url} gave {len(found)} choices where it gave {size} before")
                return found

            with ThreadPoolExecutor(AT_ONCE) as pool:
                texts += [text for part in pool.map(call, starts) for text in part]
        return texts[:n]

    def answer(self, messages: Sequence[Message], max_tokens: int, seed: int, grounding: str = "off") -> Answer:
        """One reply, with the annotations of kind url_citation as {"title", "url", "start", "end"}. Raises `EndpointError`."""
        body, seconds = self._chat(messages, 1, max_tokens, seed, grounding)
        choice = _choices(body, self.url)[0]
        return Answer(
            _text(choice, self.url), choice.get("finish_reason") or "stop", seconds, None, _sources(choice, self.url)
        )

    def _first(self, messages: Sequence[Message], n: int, max_tokens: int, seed: int) -> list[str]:
        """What one call for all of them gives; learns from it how many one call does give."""
        try:
            texts = self._texts(messages, n, max_tokens, seed)
        except _Refused as refusal:
            if n == 1 or refusal.param not in (None, "n"):
                raise
            try:
                texts = self._texts(messages, 1, max_tokens, seed)
            except _Refused:
                raise refusal from None
        if len(texts) < n:
            self._choices = len(texts)
        return texts

    def _texts(self, messages: Sequence[Message], n: int, max_tokens: int, seed: int) -> list[str]:
        body, _ = self._chat(messages, n, max_tokens, seed, "off")
        return [_text(choice, self.url) for choice in _choices(body, self.url)][:n]

    def _chat(
        self, messages: Sequence[Message], n: int, max_tokens: int, seed: int, grounding: str
    ) -> tuple[dict[str, Any], float]:
        """The answer and the seconds that it took, those of failed attempts left out."""
        asked: dict[str, Any] = {"model": self.name, "messages": list(messages), "seed": seed}
        if n > 1:
            asked["n"] = n
        if self._winnow:
            asked["grounding"] = grounding
        limit = self._limit
        try:
            return self._call("POST", "/chat/completions", {**asked, limit: max_tokens})
        except _Refused as refusal:  # newer hosted models have another name for it
            if limit == NEW_LIMIT or refusal.param != OLD_LIMIT:
                raise
            self._limit = NEW_LIMIT
            return self._call("POST", "/chat/completions", {**asked, NEW_LIMIT: max_tokens})

    def _listed(self, needed: bool) -> list[dict[str, Any]]:
        """The models that the server lists; none where it keeps no list, or shows it to others alone and it is not needed."""
        try:
            data = self._call("GET", "/models")[0].get("data")
        except _Refused as refusal:
            if needed and refusal.status in DENIED:
                raise
            return []
        return [each for each in data if isinstance(each, dict)] if isinstance(data, list) else []

    def _only(self, listed: Sequence[dict[str, Any]]) -> str:
        names = [str(each["id"]) for each in listed if "id" in each]
        if len(names) == 1 or (self._winnow and names):
            return names[0]
        known = f"lists {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}" if names else "lists no model"
        raise EndpointError(f"{self.url} {known}; say with --model NAME which one is to be tested")

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[dict[str, Any], float]:
        for attempt in range(len(PAUSES) + 1):
            wait = PAUSES[attempt] if attempt < len(PAUSES) else None
            began = time.perf_counter()
            try:
                response = self._client.request(method, self.url + path, json=body)
            except httpx.TimeoutException as error:
                fault: EndpointError = self._error(path, f"gave no answer in {self._client.timeout.read:g} s")
                fault.__cause__ = error
            except httpx.HTTPError as error:
                fault = self._error(path, f"cannot be reached ({type(error).__name__}: {error})")
                fault.__cause__ = error
            else:
                if response.is_success:
                    return self._parsed(path, response), time.perf_counter() - began
                fault = self._refusal(path, response)
                if response.status_code not in AGAIN:
                    raise fault
                wait = wait and max(wait, _wish(response))
            if wait is None:
                raise fault
            self._pause(wait)
        raise AssertionError("unreachable")

    def _parsed(self, path: str, response: httpx.Response) -> dict[str, Any]:
        try:
            found = response.json()
        except ValueError as error:
            kind = response.headers.get("content-type", "no content type")
            raise self._error(path, f"answered with something that is not JSON ({kind})") from error
        if not isinstance(found, dict):
            raise self._error(path, "answered with JSON that is no object")
        return found

    def _refusal(self, path: str, response: httpx.Response) -> EndpointError:
        said, param = "", None
        try:
            error = response.json()["error"]
            said = error if isinstance(error, str) else str(error["message"])
            param = error["param"]
        except (ValueError, KeyError, TypeError):
            pass
        said = " ".join(said.split())[:300]
        what = f"answered {response.status_code}{': ' + said if said else ''}"
        if response.status_code in DENIED and not self._key:
            what += " (no API key was sent: it is read from OPENAI_API_KEY)"
        known = param if isinstance(param, str) else None
        return (
            _Refused(str(self._error(path, what)), known, response.status_code)
            if response.status_code in range(400, 500) and response.status_code not in AGAIN
            else self._error(path, what)
        )

    def _error(self, path: str, what: str) -> EndpointError:
        line = f"{self.url}{path} {what}"
        return EndpointError(line.replace(self._key, "[key]") if self._key else line)


def _base(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"--endpoint is {url!r}, not an address like http://localhost:8000/v1")
    if parts.username or parts.password or parts.query:
        raise ValueError("--endpoint must hold no name, password or query, which would be written into the results")
    path = parts.path.rstrip("/").removesuffix("/chat/completions") or "/v1"
    return f"{parts.scheme}://{parts.netloc}{path}"


def _choices(body: dict[str, Any], url: str) -> list[dict[str, Any]]:
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices or not all(isinstance(each, dict) for each in choices):
        raise EndpointError(f"{url} answered without choices: no chat completion")
    if all(isinstance(each.get("index"), int) for each in choices):
        return sorted(choices, key=lambda each: int(each["index"]))
    return choices


def _message(choice: dict[str, Any], url: str) -> dict[str, Any]:
    message = choice.get("message")
    if not isinstance(message, dict):
        raise EndpointError(f"{url} answered without choices[].message: no chat completion")
    return message


def _text(choice: dict[str, Any], url: str) -> str:
    """The content; of a reply that has none, the refusal, else nothing."""
    message = _message(choice, url)
    text = message.get("content")
    if text is None:
        text = message.get("refusal") or ""
    if not isinstance(text, str):
        raise EndpointError(f"{url} answered with choices[].message.content that is no text")
    return text


def _sources(choice: dict[str, Any], url: str) -> tuple[dict[str, Any], ...]:
    annotations = _message(choice, url).get("annotations") or []
    if not isinstance(annotations, list):
        raise EndpointError(f"{url} answered with choices[].message.annotations that is no list")
    found = []
    for each in annotations:
        if not isinstance(each, dict) or each.get("type") != "url_citation":
            continue
        cited = each.get("url_citation")
        if not isinstance(cited, dict):
            raise EndpointError(f"{url} answered with an annotation of kind url_citation that holds no url_citation")
        places = {"start": cited.get("start_index"), "end": cited.get("end_index")}
        found.append({"title": cited.get("title"), "url": cited.get("url"), **places})
    return tuple(found)


def _wish(response: httpx.Response) -> float:
    """Seconds for which the server asks to be left alone, within reason; 0 where it does not say."""
    try:
        return min(max(float(response.headers.get("retry-after", 0)), 0.0), LONGEST_PAUSE)
    except ValueError:  # a date
        return 0.0

"""A client of any OpenAI-compatible server: vLLM, Ollama, llama.cpp's server, a hosted API, another Winnow.

Knows the wire, limits, retries, and what servers leave out or refuse. Does not know what the replies are for. Calls run on an event
loop in a thread of its own, so that a time limit holds for all of a call, however slowly its bytes come.
"""

import asyncio
import json
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_exponential, wait_random

from service.breaker import Breaker, Open
from service.server_faults import (
    Busy,
    CircuitOpen,
    Malformed,
    Refused,
    ServerFault,
    Slow,
    Unreachable,
    base_url,
    checked_key,
    retry_after,
)

log = logging.getLogger(__name__)

Json = dict[str, Any]
T = TypeVar("T")

CHAT, MODELS = "/chat/completions", "/models"
OLD_LIMIT, NEW_LIMIT = "max_tokens", "max_completion_tokens"

SPARED = ("logprobs", "seed", "temperature", "top_p")
"""What is left out for a server that refuses it by name."""

UNNAMED = (400, 422)
"""Statuses of a request that the server does not like, where it may not say which part of it."""

PROBE_SECONDS = 2.0


@dataclass(frozen=True)
class Limits:
    """Seconds to be connected, seconds without a byte, and seconds for all of a draw, retries included; retries; calls side by side;
    bytes of one answer. `first_pause`: seconds before the first retry, doubled for each further one, and as much again by chance.
    """

    connect: float = 5.0
    read: float = 60.0
    whole: float = 120.0
    retries: int = 2
    parallel: int = 8
    bytes: int = 16 * 2**20
    first_pause: float = 0.5


@dataclass(frozen=True)
class Completion:
    """One answer of the chat route: choices by index, usage as it stands, and the seconds that the call which succeeded took."""

    choices: Sequence[Json]
    usage: Json
    seconds: float


@dataclass
class Drawn:
    """What came of a draw, and what went wrong in the rest of it."""

    completions: list[Completion] = field(default_factory=list)
    failures: list[ServerFault] = field(default_factory=list)

    @property
    def count(self) -> int:
        return sum(len(completion.choices) for completion in self.completions)


class Client:
    """A server behind `url`, the address that OpenAI's clients call the base URL ("/v1" is added to a bare host).

    `named`: what the user calls the address, `key_named` the key. `quotes`: faults say what the server said, which may quote a text:
    for a person at a terminal, not for logs and clients. `patient`: what was slow is asked for again. Raises ValueError for an address
    or a key that is none. Safe to share between threads.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        limits: Limits = Limits(),
        *,
        named: str,
        key_named: str,
        quotes: bool = False,
        patient: bool = False,
        breaker: Breaker | None = None,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.url, self._key = base_url(url, named), checked_key(key, key_named)
        self._key_named, self._quotes, self._limits, self._pause = key_named, quotes, limits, pause
        self._again = (Unreachable, Busy, Slow) if patient else (Unreachable, Busy)
        self.breaker = breaker or Breaker()
        self.left_out: set[str] = set()
        """Fields that the server refuses, and is spared."""
        self.heard: float | None = None
        """When the server answered, by `time.monotonic()`; None where it has not, or a call has failed since."""
        self._most: int | None = None
        """Choices that one call gives, once it has been seen to give fewer than were asked for."""
        self._limit = OLD_LIMIT
        self._slots = asyncio.Semaphore(limits.parallel)
        self._http = httpx.AsyncClient(
            headers={"Accept-Encoding": "identity", **({"Authorization": f"Bearer {self._key}"} if self._key else {})},
            timeout=httpx.Timeout(limits.read, connect=limits.connect, pool=None),
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="winnow-client", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends what is under way. Nothing may be asked afterwards."""
        if self._loop.is_closed():
            return

        async def end() -> None:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._http.aclose()

        self._run(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def draw(self, asked: Mapping[str, Any], n: int, seeds: Callable[[int], int]) -> Drawn:
        """`n` choices: of one call, or, of a server that gives fewer, of as many calls as it takes, side by side. `seeds(i)`: the seed
        of a call whose first choice is the i-th. `asked` holds the rest of the body, with `max_tokens`. Raises `ServerFault` where the
        first call of all fails; the failures of others are among what is returned.
        """
        return self._run(self._draw(asked, n, seeds))

    def complete(self, asked: Mapping[str, Any]) -> Completion:
        """One call of the chat route. Raises `ServerFault`."""
        return self._run(self._complete(asked, self._deadline()))

    def listed(self, needed: bool) -> list[Json]:
        """The models that the server lists; none where it keeps no list, or shows it to others alone and it is not needed. Raises
        `ServerFault`.
        """
        try:
            data = self._run(self._call("GET", MODELS, None, self._deadline()))[0].get("data")
        except Refused as refusal:
            if needed and refusal.status in (401, 403):
                raise
            return []
        return [each for each in data if isinstance(each, dict)] if isinstance(data, list) else []

    def only_model(self, option: str) -> str:
        """The one model that the server lists, of Winnow the first. Raises `ServerFault` where there is not one; `option`: what the
        user may say it with.
        """
        listed = self.listed(needed=True)
        names = [each["id"] for each in listed if isinstance(each.get("id"), str)]
        if len(names) == 1 or (names and is_winnow(listed)):
            return str(names[0])
        known = f"lists {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}" if names else "lists no model"
        raise Refused(self.url, f"{known}; say with {option} which one is meant")

    def probe(self) -> ServerFault | None:
        """Why the server cannot be used now; None where it answers, were it with an error: some keep no list of models, or a broken
        one. One short call, past the circuit breaker.
        """
        try:
            self._run(self._exchange("GET", MODELS, None, PROBE_SECONDS))
        except Malformed:
            pass
        except (Refused, Unreachable) as fault:
            denied = isinstance(fault, Refused) and fault.status in (401, 403)
            if denied or (isinstance(fault, Unreachable) and fault.status != 500):
                return fault
        except ServerFault as fault:
            return fault
        self.heard = time.monotonic()
        return None

    def text(self, choice: Json) -> str | None:
        """The content, or of a reply without one the refusal; None where there is neither. Raises `Malformed`."""
        message = self.message(choice)
        for name in ("content", "refusal"):
            text = message.get(name)
            if text is not None and not isinstance(text, str):
                raise Malformed(self.url, f"answered with choices[].message.{name} that is no text")
            if text is not None:
                return text
        return None

    def message(self, choice: Json) -> Json:
        """Raises `Malformed`."""
        message = choice.get("message")
        if not isinstance(message, dict):
            raise Malformed(self.url, "answered without choices[].message: no chat completion")
        return message

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:  # Ctrl-C: nobody waits for it any more
            future.cancel()
            raise

    def _deadline(self) -> float:
        return time.monotonic() + self._limits.whole

    async def _draw(self, asked: Mapping[str, Any], n: int, seeds: Callable[[int], int]) -> Drawn:
        deadline = self._deadline()
        drawn = Drawn()
        if self._most is None:
            drawn.completions.append(await self._first(asked, n, seeds(0), deadline))
        if drawn.count < n:
            size = self._most or 1
            starts = list(range(drawn.count, n, size))
            if self.breaker.state != "closed":  # one call at a time is let through
                await self._part(drawn, {**asked, "seed": seeds(starts[0])}, min(size, n - starts[0]), size, deadline)
                starts = starts[1:]
            parts = [Drawn() for _ in starts]
            await asyncio.gather(
                *(
                    self._part(part, {**asked, "seed": seeds(start)}, min(size, n - start), size, deadline)
                    for part, start in zip(parts, starts, strict=True)
                )
            )
            for part in parts:
                drawn.completions += part.completions
                drawn.failures += part.failures
        return drawn

    async def _first(self, asked: Mapping[str, Any], n: int, seed: int, deadline: float) -> Completion:
        """What one call for all of them gives; learns from it how many one call does give."""
        try:
            found = await self._several({**asked, "seed": seed}, n, deadline)
        except (Refused, Unreachable) as fault:
            # Servers without n say so in many ways; llama.cpp's answered 500 for long.
            unsaid = isinstance(fault, Unreachable) or (
                fault.status in UNNAMED and fault.param in (None, "n") and not fault.too_long
            )
            if n == 1 or not unsaid or (isinstance(fault, Unreachable) and fault.status != 500):
                raise
            try:
                found = await self._several({**asked, "seed": seed}, 1, deadline)
            except ServerFault:
                raise fault from None
        if len(found.choices) < n:
            self._most = len(found.choices)
        return found

    async def _part(self, drawn: Drawn, asked: Json, wanted: int, size: int, deadline: float) -> None:
        try:
            found = await self._several(asked, wanted, deadline)
        except ServerFault as fault:
            drawn.failures.append(fault)
            return
        drawn.completions.append(found)
        if len(found.choices) < wanted:
            came = f"gave {len(found.choices)} choices where it gave {size} before"
            drawn.failures.append(Malformed(self.url, came))

    async def _several(self, asked: Json, n: int, deadline: float) -> Completion:
        found = await self._complete({**asked, "n": n} if n > 1 else asked, deadline)
        return Completion(found.choices[:n], found.usage, found.seconds)

    async def _complete(self, asked: Mapping[str, Any], deadline: float) -> Completion:
        """One call, and again without what the server refuses; what it turns out to refuse is left out from then on."""
        sent = {name: value for name, value in asked.items() if name not in self.left_out}
        if self._limit == NEW_LIMIT and OLD_LIMIT in sent:
            sent[NEW_LIMIT] = sent.pop(OLD_LIMIT)
        changed: list[str] = []
        guessed_at: Refused | None = None
        while True:
            try:
                body, seconds = await self._call("POST", CHAT, sent, deadline)
                break
            except Refused as refusal:
                # Hosted models that think say 403 to a wish for likelihoods.
                unsaid = refusal.status in (*UNNAMED, 403) and refusal.param is None and not refusal.too_long
                if unsaid and "logprobs" in sent:
                    guessed_at, name = guessed_at or refusal, "logprobs"
                elif refusal.param in (*SPARED, OLD_LIMIT) and refusal.param in sent:
                    name = refusal.param
                else:  # where a guess did not help, the first refusal says more
                    raise guessed_at or refusal from None
                changed.append(name)
                value = sent.pop(name)
                if name == OLD_LIMIT:
                    sent[NEW_LIMIT] = value
        for name in changed:
            self._learn(name)
        usage = body.get("usage")
        return Completion(self._choices(body), usage if isinstance(usage, dict) else {}, seconds)

    def _learn(self, refused: str) -> None:
        if refused == OLD_LIMIT:
            self._limit = NEW_LIMIT
        elif refused not in self.left_out:
            self.left_out.add(refused)
            log.warning("%s refuses %s, which is left out from now on", self.url, refused)

    def _choices(self, body: Json) -> list[Json]:
        choices = body.get("choices")
        if not isinstance(choices, list) or not choices or not all(isinstance(each, dict) for each in choices):
            raise Malformed(self.url, "answered without choices: no chat completion")
        if all(isinstance(each.get("index"), int) for each in choices):
            return sorted(choices, key=lambda each: int(each["index"]))
        return choices

    async def _call(self, method: str, path: str, body: Json | None, deadline: float) -> tuple[Json, float]:
        """The answer and the seconds that it took, those of failed attempts left out."""
        first = self._limits.first_pause
        by_chance = wait_exponential(multiplier=first) + wait_random(0, first)
        enough = stop_after_attempt(self._limits.retries + 1)

        def pause(state: RetryCallState) -> float:
            fault = state.outcome.exception() if state.outcome else None
            return max(by_chance(state), getattr(fault, "retry_after", None) or 0.0)

        def too_late(state: RetryCallState) -> bool:
            return time.monotonic() + state.upcoming_sleep >= deadline

        retrying = AsyncRetrying(
            retry=retry_if_exception_type(self._again),
            wait=pause,
            stop=lambda state: enough(state) or too_late(state),
            sleep=self._pause,
            reraise=True,
        )
        found: tuple[Json, float] = await retrying(self._attempt, method, path, body, deadline)
        return found

    async def _attempt(self, method: str, path: str, body: Json | None, deadline: float) -> tuple[Json, float]:
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                await self._slots.acquire()
        except TimeoutError:
            raise Slow(self.url, f"had no place free in {self._limits.whole:g} s") from None
        try:
            with self.breaker.guard(lambda error: isinstance(error, Refused | Busy)):
                began = time.monotonic()
                found = await self._exchange(method, path, body, deadline - began)
                if path == CHAT:
                    self._choices(found)
                self.heard = time.monotonic()
                return found, self.heard - began
        except Open as circuit:
            raise CircuitOpen(self.url, circuit) from None
        except ServerFault:
            self.heard = None
            raise
        finally:
            self._slots.release()

    async def _exchange(self, method: str, path: str, body: Json | None, seconds: float) -> Json:
        """One request. Raises `ServerFault`."""
        url = self.url + path
        try:
            async with asyncio.timeout(seconds), self._http.stream(method, url, json=body) as response:
                content = await self._read(response)
        except httpx.ConnectTimeout:
            raise Unreachable(url, f"gave no connection in {self._limits.connect:g} s") from None
        except (TimeoutError, httpx.TimeoutException) as error:
            read = isinstance(error, httpx.TimeoutException)
            raise Slow(url, f"gave no answer in {self._limits.read if read else seconds:.3g} s") from None
        except httpx.DecodingError:
            raise Malformed(url, "answered with something that cannot be decompressed") from None
        except httpx.HTTPError as error:
            said = f": {error}" if isinstance(error, httpx.ConnectError) else ""  # others may quote what was received
            raise Unreachable(url, f"cannot be reached ({type(error).__name__}{said})") from None
        if not response.is_success:
            raise self._refusal(url, response, content)
        try:
            found = json.loads(content)
        except (ValueError, RecursionError):
            kind = response.headers.get("content-type", "no content type").split(";")[0][:60]
            raise Malformed(url, f"answered with something that is not JSON ({kind})") from None
        if not isinstance(found, dict):
            raise Malformed(url, "answered with JSON that is no object")
        return found

    async def _read(self, response: httpx.Response) -> bytes:
        content = bytearray()
        async for piece in response.aiter_bytes():
            content += piece
            if len(content) > self._limits.bytes:
                raise Malformed(str(response.url), f"answered with more than {self._limits.bytes} bytes")
        return bytes(content)

    def _refusal(self, url: str, response: httpx.Response, content: bytes) -> ServerFault:
        said, param, code = "", None, None
        with suppress(ValueError, RecursionError, KeyError, TypeError, AttributeError):
            error = json.loads(content)["error"]
            said = error if isinstance(error, str) else str(error.get("message", ""))
            param = error.get("param")
            code = next((each for each in (error.get("code"), error.get("type")) if isinstance(each, str)), None)
        said = " ".join(said.split())[:300]
        if self._key:
            said = said.replace(self._key, "[key]")
        status = response.status_code
        what = f"answered {status}{': ' + said if said and self._quotes else ''}"
        if status in (401, 403):
            what += f" ({'the API key' if self._key else 'no API key was sent: it'} is read from {self._key_named})"
        if status in (408, 425, 429):
            return Busy(url, what, retry_after(response))
        if status >= 500:
            return Unreachable(url, what, retry_after(response), status)
        return Refused(url, what, status, param if isinstance(param, str) else None, code, said)


def is_winnow(listed: Sequence[Json]) -> bool:
    """Whether the models that a server lists are Winnow's."""
    return any(each.get("owned_by") == "winnow" for each in listed)

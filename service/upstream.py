"""Candidates from any OpenAI-compatible server: vLLM, Ollama, llama.cpp's server, a hosted API.

Knows how choices become candidates and faults become answers. The wire is in `client.py`. Does not know safety, ranking or retrieval.
"""

import hashlib
import json
import logging
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from service.breaker import Open
from service.client import Client, Completion, Limits
from service.generator import Candidate, GeneratorFailed, Message, PromptTooLong, Sampling
from service.server_faults import Busy, CircuitOpen, Malformed, Refused, ServerFault, Slow
from service.settings import Settings

log = logging.getLogger(__name__)

KEY = "WINNOW_UPSTREAM_KEY"
"""The variable of the environment that holds the server's key. No setting: settings are shown."""

BYTES_A_TOKEN = 4
TOKENS_A_TURN = 4
"""The estimate, where the server has not counted: a byte-pair token is about four bytes of UTF-8, a turn's marks about four tokens."""

LONGEST_TOKEN = 64
"""Characters. A reply of more than so many a token has not kept to the limit that it was given."""

COUNTS_KEPT = 256
"""Conversations whose tokens are remembered as the server counted them."""

HEARD_SECONDS = 10.0
"""For so long after an answer the server counts as there."""

PATIENCE = 5.0
"""Seconds after which a client may try again, where the server does not say."""

ROUNDED = 1e-3
"""How far above 0 a logarithm may be for want of exactness."""


class UpstreamGenerator:
    """A server that draws candidates. `name`: its model's.

    Sent are the messages, max_tokens, temperature, top_p, stop and a seed of each call's own; top-k, which the API does not know, is
    the server's. Likelihoods are those that the server tells; where it tells them of some candidates alone, none has one.
    """

    def __init__(self, client: Client, name: str, max_input_tokens: int = 2048) -> None:
        self.client, self.name = client, name
        self._max_input_tokens = max_input_tokens
        self._counts: OrderedDict[bytes, int] = OrderedDict()
        self._lock = threading.Lock()

    @classmethod
    def connect(cls, settings: Settings, key: str | None) -> "UpstreamGenerator":
        """The upstream of the settings. A server that does not answer yet is waited for only where its model is not named.

        Raises ValueError (address, key), ConnectionError (no name, and the server does not tell one).
        """
        limits = Limits(
            connect=settings.upstream_connect_seconds,
            read=settings.upstream_read_seconds,
            whole=settings.upstream_seconds,
            retries=settings.upstream_retries,
            parallel=settings.upstream_parallel,
        )
        client = Client(settings.upstream or "", key, limits, named="upstream", key_named=KEY)
        try:
            name = settings.upstream_model
            if name is None:
                name = client.only_model("--upstream-model NAME (setting upstream_model)")
            elif (fault := client.probe()) is not None:
                log.warning("%s; requests are refused until it answers", fault)
        except BaseException as error:
            client.close()
            if isinstance(error, ServerFault) and not isinstance(error, Refused):
                hint = "start it first, or name its model with --upstream-model (setting upstream_model)"
                raise ConnectionError(f"{error}; {hint}") from None
            raise
        return cls(client, name, settings.max_input_tokens)

    def close(self) -> None:
        self.client.close()

    def sample(self, messages: Sequence[Message], n: int, sampling: Sampling) -> list[Candidate]:
        """As many of `n` candidates as came, one at least. Raises `PromptTooLong` (by the estimate of `count_tokens`, or as the server
        says), `GeneratorFailed`, ValueError for n < 1.
        """
        if n < 1:
            raise ValueError(f"n is {n}; at least 1 candidate must be drawn")
        tokens = self.count_tokens(messages)
        if tokens > self._max_input_tokens:
            raise PromptTooLong(tokens, self._max_input_tokens)
        asked: dict[str, Any] = {
            "model": self.name,
            "messages": [{"role": m["role"], "content": m["content"]} for m in messages],
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "logprobs": True,
        }
        if sampling.stop:
            asked["stop"] = list(sampling.stop)
        try:
            drawn = self.client.draw(asked, n, lambda i: seed_of(sampling.seed, i))
        except Refused as refusal:
            if refusal.too_long:
                raise TooLongForUpstream(tokens) from None
            raise failure(refusal) from None
        except ServerFault as fault:
            raise failure(fault) from None
        found: list[Candidate] = []
        faults = list(drawn.failures)
        for completion in drawn.completions:
            self._remember(messages, completion)
            for choice in completion.choices:
                try:
                    found.append(self._candidate(choice, completion, sampling.max_tokens))
                except Malformed as fault:
                    faults.append(fault)
        if not found:
            raise failure(faults[0])
        if faults:
            log.warning("%d of %d candidates came; one that did not: %s", len(found), n, faults[0])
        if any(each.log_likelihood is None for each in found):
            self._untold()
            found = [Candidate(each.text, each.tokens, None, each.finish_reason) for each in found]
        return found

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Tokens of the prompt as the server counted them when it answered these messages, else an estimate from their bytes."""
        with self._lock:
            counted = self._counts.get(_digest(messages))
        return sum(map(_estimate, messages)) if counted is None else counted

    def log_likelihoods(self, messages: Sequence[Message], texts: Sequence[str]) -> list[float]:
        """0 for each, so that all are alike: the API tells likelihoods of what it samples, not of given texts."""
        return [0.0] * len(texts)

    def unready(self) -> str | None:
        """Why the server cannot be asked now, without its address; None where it can."""
        refusal: Open | None = self.client.breaker.refusal()
        if refusal is not None:
            return f"the upstream server {CircuitOpen(self.client.url, refusal).what}"
        heard = self.client.heard
        if heard is not None and time.monotonic() - heard < HEARD_SECONDS:
            return None
        fault = self.client.probe()
        return f"the upstream server {fault.what}" if fault is not None else None

    def _untold(self) -> None:
        """Without likelihoods of all, those of some would decide by who tells them: from now on nobody is asked."""
        if "logprobs" not in self.client.left_out:
            self.client.left_out.add("logprobs")
            log.warning("%s tells no log-probabilities: candidates are not ranked by likelihood", self.client.url)

    def _remember(self, messages: Sequence[Message], completion: Completion) -> None:
        tokens = _count(completion.usage.get("prompt_tokens"))
        if tokens is not None:
            with self._lock:
                self._counts[_digest(messages)] = tokens
                if len(self._counts) > COUNTS_KEPT:
                    self._counts.popitem(last=False)

    def _candidate(self, choice: dict[str, Any], completion: Completion, max_tokens: int) -> Candidate:
        """Raises `Malformed`."""
        url, message, text = self.client.url, self.client.message(choice), self.client.text(choice)
        if text is None:
            for name in ("tool_calls", "function_call"):
                if message.get(name):
                    raise Malformed(url, f"answered with choices[].message.{name}, which was not asked for")
            raise Malformed(url, "answered with choices[].message.content that is null")
        try:
            text.encode()
        except UnicodeEncodeError:
            what = "answered with choices[].message.content that holds half of a surrogate pair"
            raise Malformed(url, what) from None
        if len(text) > LONGEST_TOKEN * max_tokens:
            what = f"answered with choices[].message.content of {len(text)} characters for {max_tokens} tokens"
            raise Malformed(url, what)
        finish = choice.get("finish_reason")
        if finish is not None and not isinstance(finish, str):
            raise Malformed(url, "answered with choices[].finish_reason that is no text")
        logs = _logs(choice)
        tokens = len(logs) if logs else None
        if tokens is None and len(completion.choices) == 1:
            tokens = _count(completion.usage.get("completion_tokens"))
        if tokens is None:
            tokens = math.ceil(len(text.encode()) / BYTES_A_TOKEN)
        reason = finish if finish in ("length", "content_filter") else "stop"
        return Candidate(text.strip(), tokens, sum(logs) if logs else None, reason)


class TooLongForUpstream(PromptTooLong):
    """The conversation has more tokens than the upstream's model takes, of which it did not say how many."""

    def __init__(self, tokens: int) -> None:
        super().__init__(tokens, tokens)
        self.args = (f"the conversation of about {tokens} tokens is longer than the upstream server's model takes",)


def failure(fault: ServerFault) -> GeneratorFailed:
    """What a client is told of a fault, and with which status. The address is not among it."""
    said = f"the upstream server {fault.what}"
    wish = fault.retry_after or PATIENCE
    log.error("%s", fault)
    match fault:
        case CircuitOpen():
            return GeneratorFailed(said, 503, "upstream_circuit_open", wish)
        case Busy():
            return GeneratorFailed(said, 503, "upstream_busy", wish)
        case Slow():
            return GeneratorFailed(said, 504, "upstream_timeout", wish)
        case Malformed():
            return GeneratorFailed(said, 502, "upstream_malformed", wish)
        case Refused():
            return GeneratorFailed(said, 502, "upstream_refused")
        case _:
            return GeneratorFailed(said, 502, "upstream_unreachable", wish)


def seed_of(seed: int, i: int) -> int:
    """The seed of a call whose first choice is the i-th, in [0, 2³¹), which every server takes. Drawn from both by a hash: no two
    draws share a row of seeds that only begins elsewhere.
    """
    return int.from_bytes(hashlib.sha256(f"{seed}:{i}".encode()).digest()[:4], "big") % 2**31


def _estimate(message: Message) -> int:
    return math.ceil(len(message["content"].encode(errors="replace")) / BYTES_A_TOKEN) + TOKENS_A_TURN


def _digest(messages: Sequence[Message]) -> bytes:
    return hashlib.sha256(json.dumps(list(messages)).encode()).digest()


def _count(value: object) -> int | None:
    """A number of tokens; None where it is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**31 else None


def _logs(choice: dict[str, Any]) -> list[float] | None:
    """The natural logarithm of each sampled token's probability; None where the server does not tell, or tells nonsense."""
    told = choice.get("logprobs")
    content = told.get("content") if isinstance(told, dict) else None
    if not isinstance(content, list) or not content:
        return None
    found = []
    for each in content:
        log = each.get("logprob") if isinstance(each, dict) else None
        if not isinstance(log, int | float) or not math.isfinite(log) or log > ROUNDED:
            return None
        found.append(min(float(log), 0.0))
    return found

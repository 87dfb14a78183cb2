"""API keys: who may ask, for what and how much. Their file holds hashes alone, and is taken up again when it changes.

Knows keys and their file. Does not know HTTP, nor what was asked so far (`quotas.py`).
"""

import asyncio
import hashlib
import hmac
import json
import logging
import os
import secrets
import tempfile
import time
import tomllib
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Literal

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field, ValidationError

SCOPES = {
    "chat": "chat completions, and feedback on them",
    "screen": "moderations, screening and grounding of one's own texts",
    "debug": "with explain, the texts of all candidates, dropped ones too",
    "metrics": "the figures for Prometheus",
}
"""What a key may be good for; a key that has any scope may list the models and read the policy."""

Scope = Literal["chat", "screen", "debug", "metrics"]

PREFIX = "winnow_"
"""Every key begins so: a scanner for leaked secrets can tell what it found."""

LOOK_SECONDS = 1.0
"""Between two looks at the file."""

HEAD = "# API keys of Winnow, written by `winnow keys`. Hashes: nobody can read a key from them.\n"

log = logging.getLogger(__name__)


class KeysUnreadable(ValueError):
    """The file holds no keys as `winnow keys` writes them; the message names it and the field."""


class Key(BaseModel):
    """One key. `sha256`: of the whole key, in hexadecimal. Limits: None for none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # Fit for a log line and for TOML as it is.
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    # Not scrypt: nobody guesses 256 random bits however fast the hash is, and a slow one would let anybody keep the server busy.
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", repr=False)]
    scopes: Annotated[frozenset[Scope], Field(min_length=1)]
    requests_per_minute: Annotated[int, Field(ge=1)] | None = None
    tokens_per_day: Annotated[int, Field(ge=1)] | None = None
    created: date


def read_keys(path: Path) -> tuple[Key, ...]:
    """The keys of the file. Raises `KeysUnreadable`, OSError."""
    return _parsed(path.read_bytes(), path)


def add_key(
    path: Path,
    name: str,
    scopes: Collection[str],
    requests_per_minute: int | None = None,
    tokens_per_day: int | None = None,
) -> str:
    """A new key, which is told here and kept nowhere. Raises ValueError for a name that is taken or a field out of range; OSError."""
    with _writing(path):
        keys = read_keys(path) if path.exists() else ()
        if any(key.name == name for key in keys):
            raise ValueError(f"{path} has a key named {name!r}; remove it first, or choose another name")
        made = PREFIX + secrets.token_urlsafe(32)
        fields = {
            "name": name,
            "sha256": _digest(made.encode()),
            "scopes": frozenset(scopes),
            "requests_per_minute": requests_per_minute,
            "tokens_per_day": tokens_per_day,
            "created": datetime.now(UTC).date(),
        }
        try:
            key = Key.model_validate(fields)
        except ValidationError as error:
            raise ValueError(_first(error)) from None
        _write(path, (*keys, key))
    return made


def remove_key(path: Path, name: str) -> None:
    """The key of that name is no longer good for anything. Raises LookupError where there is none, `KeysUnreadable`, OSError."""
    with _writing(path):
        keys = read_keys(path)
        left = [key for key in keys if key.name != name]
        if len(left) == len(keys):
            known = ", ".join(key.name for key in keys) or "none"
            raise LookupError(f"{path} has no key named {name!r}; it has: {known}")
        _write(path, left)


class KeyRing:
    """The keys in service. A change of the file is seen within a second of the next request.

    A file that is gone holds no keys, so nobody gets in. One that cannot be read, or is no file of keys, changes nothing: `warning`
    says why.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` in seconds. Raises `KeysUnreadable`, OSError: all at start."""
        self.path, self._clock = path, clock
        self.warning: str | None = None
        self._content: bytes | None = path.read_bytes()
        self.keys = _parsed(self._content, path)
        self._next_look = clock() + LOOK_SECONDS
        self._looking = asyncio.Lock()

    async def find(self, presented: bytes) -> Key | None:
        """The key that was presented, None for one that is not, or no longer, here."""
        async with self._looking:  # who comes while another looks must not get in with the keys of before
            if self._clock() >= self._next_look:
                await asyncio.to_thread(self._look)
                self._next_look = self._clock() + LOOK_SECONDS
        digest = _digest(presented)
        found = None
        for key in self.keys:  # all of them, each in constant time: how long it takes says nothing of any key
            if hmac.compare_digest(key.sha256, digest):
                found = key
        return found

    def _look(self) -> None:
        try:
            content = self.path.read_bytes()
            if content != self._content or self.warning:
                self.keys = _parsed(content, self.path)
                log.warning("keys read again: %d", len(self.keys))
            self._content, self.warning = content, None
        except FileNotFoundError:
            if self._content is not None:
                log.error("the file of keys is gone, so no key is good any more: %s", self.path)
            self._content, self.keys, self.warning = None, (), "the file of keys is gone: no key is good"
        except (KeysUnreadable, OSError) as error:
            if not self.warning:
                log.error("the keys of before stay good, those of the file cannot be read: %s", error)
            self.warning = "the file of keys cannot be read: the keys of before stay good"


def _digest(key: bytes) -> str:
    return hashlib.sha256(key).hexdigest()


def _parsed(content: bytes, path: Path) -> tuple[Key, ...]:
    try:
        table = tomllib.loads(content.decode())
    except ValueError as error:  # no UTF-8, or no TOML
        raise KeysUnreadable(f"{path}: cannot be read as TOML: {error}") from error
    rows = table.pop("keys", [])
    if table or not isinstance(rows, list):
        stranger = next(iter(table), "keys")
        raise KeysUnreadable(f"{path}: {stranger!r} is no [[keys]] table; `winnow keys add` writes this file")
    keys: list[Key] = []
    for number, row in enumerate(rows, 1):
        try:
            key = Key.model_validate(row)
        except ValidationError as error:
            raise KeysUnreadable(
                f"{path}: key {number}: {_first(error)}"
            ) from None  # pydantic's own words quote the hash
        if any(key.name == other.name or key.sha256 == other.sha256 for other in keys):
            raise KeysUnreadable(f"{path}: key {number} ({key.name}) is there twice")
        keys.append(key)
    return tuple(keys)


def _first(error: ValidationError) -> str:
    found = error.errors(include_input=False)[0]
    return f"{'.'.join(map(str, found['loc'][:1])) or 'a key'}: {found['msg']}"


def _writing(path: Path) -> FileLock:
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path.with_name(f".{path.name}.lock"), timeout=10)


def _write(path: Path, keys: Sequence[Key]) -> None:
    """All or nothing: a server that reads meanwhile sees the old file or the new one."""
    target = path.resolve()  # a link stays a link
    mode = target.stat().st_mode & 0o777 if target.exists() else 0o600
    handle, beside = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(HEAD + "".join(_toml(key) for key in keys))
            file.flush()
            os.fsync(file.fileno())
        os.chmod(beside, mode)
        os.replace(beside, target)
    except BaseException:
        os.unlink(beside)
        raise


def _toml(key: Key) -> str:
    # No value holds a character that TOML would have escaped otherwise than JSON.
    rows = {
        "name": json.dumps(key.name),
        "sha256": json.dumps(key.sha256),
        "scopes": json.dumps([scope for scope in SCOPES if scope in key.scopes]),
        "requests_per_minute": key.requests_per_minute,
        "tokens_per_day": key.tokens_per_day,
        "created": key.created.isoformat(),
    }
    return "\n[[keys]]\n" + "".join(f"{name} = {value}\n" for name, value in rows.items() if value is not None)

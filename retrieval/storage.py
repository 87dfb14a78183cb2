"""A folder whose content is replaced as a whole: a generation of files is written beside the current one, and one rename of the
manifest makes it the current one.

A reader sees the old generation or the new one, never half; a killed writer leaves the old one, and its leftovers go with the next
run. Knows files, checksums, the lock and the manifest. Does not know what the files say.
"""

import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

MANIFEST, LOCK = "manifest.json", ".lock"
REMEDY = "build it with `winnow index PATH`, where PATH holds your documents"
WHOLE = 64 * 2**20
"""Bytes up to which a file is read and its checksum compared at each start; of larger ones the size alone."""

_GENERATION = re.compile(r"g-[0-9a-f]{12}")
_NEW_MANIFEST = MANIFEST + ".new"
_EARLIER = {"passages.jsonl", "tokens.json"}  # what the first format kept beside its manifest
T = TypeVar("T")


class DamagedIndex(ValueError):
    """An index folder whose files are not what was written. The message names the file and the command that rebuilds
    it.
    """


@dataclass(frozen=True)
class Generation:
    """Files that belong together. `facts`: what the writer said of them."""

    folder: Path
    facts: dict[str, Any]

    @property
    def name(self) -> str:
        """Another for every generation."""
        return self.folder.name

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(int(each["bytes"]) for each in self.facts["files"].values())


class Replacing:
    """The right to replace what a folder holds. Only `replacing` makes one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.fresh = folder / f"g-{uuid.uuid4().hex[:12]}"
        """The folder for the new generation's files; made by `begin`."""
        self.published = False

    def begin(self) -> Path:
        """Makes the folder for the new generation's files. Raises OSError."""
        self.fresh.mkdir()
        return self.fresh

    def publish(self, facts: dict[str, Any]) -> None:
        """Makes the new generation the current one, once its files are safe on the disk. Raises OSError."""
        files = {}
        for file in sorted(self.fresh.iterdir()):
            _synced(file)
            files[file.name] = {"sha256": _checksum(file), "bytes": file.stat().st_size}
        _synced(self.fresh)
        content = _manifest({**facts, "generation": self.fresh.name, "files": files})
        (self._folder / _NEW_MANIFEST).write_bytes(content)
        _synced(self._folder / _NEW_MANIFEST)
        os.replace(self._folder / _NEW_MANIFEST, self._folder / MANIFEST)
        _synced(self._folder)
        self.published = True


@contextmanager
def replacing(folder: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[Replacing]:
    """Holds the folder's lock; another writer waits, after `waiting()` has been called. Without `publish` nothing has changed.

    Raises FileExistsError when `folder` is a file or holds anything that is no part of an index.
    """
    _refuse_foreign(folder)
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        waiting()
        lock.acquire()
    try:
        writer = Replacing(folder)
        _sweep(folder)
        try:
            yield writer
        finally:
            _sweep(folder)
            if made and not (folder / MANIFEST).exists():
                (folder / LOCK).unlink(missing_ok=True)
                with suppress(OSError):  # another writer may have come
                    folder.rmdir()
    finally:
        lock.release()


def current(folder: Path) -> Generation:
    """The generation that a folder holds now, by its manifest alone.

    Raises FileNotFoundError when there is no such folder, DamagedIndex when the manifest is missing or differs from what was
    written.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no index at {folder}: {REMEDY}")
    file = folder / MANIFEST
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise DamagedIndex(f"damaged index: {file} ({error.strerror or error}): {REMEDY}") from error
    try:
        facts = json.loads(raw)
        recorded = facts.pop("sha256")
        # The whole file must be its own canonical form, so that no byte of it can differ unnoticed.
        if raw != _manifest(facts) or not isinstance(recorded, str):
            raise ValueError("checksum differs")
        return Generation(folder / str(facts.get("generation", "")), facts)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedIndex(f"damaged index: {file} ({error}): {REMEDY}") from error


def check(generation: Generation, whole: bool = False) -> None:
    """Compares every file's size, and its checksum when it has at most `WHOLE` bytes or `whole` is asked for.

    Raises DamagedIndex, naming the file.
    """
    for name, written in generation.facts["files"].items():
        file = generation.folder / name
        try:
            differs = file.stat().st_size != written["bytes"] or (
                (whole or written["bytes"] <= WHOLE) and _checksum(file) != written["sha256"]
            )
        except OSError as error:
            raise DamagedIndex(f"damaged index: {file} ({error.strerror or error}): {REMEDY}") from error
        if differs:
            raise DamagedIndex(f"damaged index: {file} (checksum differs): {REMEDY}")


def opened(folder: Path, open: Callable[[Generation], T]) -> T:
    """What `open` makes of the current generation; of the next one, when it was replaced meanwhile.

    Raises what `current` and `open` raise.
    """
    generation = current(folder)
    while True:
        try:
            return open(generation)
        except DamagedIndex:
            latest = current(folder)
            if latest.name == generation.name:
                raise
            generation = latest


def stamp(folder: Path) -> tuple[int, int, int] | None:
    """Changes whenever the folder's content is replaced: a look at the manifest, without reading it. None: there is none."""
    try:
        found = (folder / MANIFEST).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _sweep(folder: Path) -> None:
    """Removes what is not of the current generation. Only for the holder of the lock."""
    try:
        kept = current(folder).name
    except DamagedIndex:
        kept = ""
    earlier = _EARLIER if _GENERATION.fullmatch(kept) else set()
    for entry in list(folder.iterdir()):
        if _GENERATION.fullmatch(entry.name) and entry.name != kept:
            shutil.rmtree(entry)
        elif entry.name == _NEW_MANIFEST or entry.name in earlier:
            entry.unlink()


def _manifest(facts: dict[str, Any]) -> bytes:
    """The manifest's bytes: facts in a fixed form with the checksum of that form without it."""
    bare = json.dumps(facts, sort_keys=True).encode()
    return json.dumps({**facts, "sha256": hashlib.sha256(bare).hexdigest()}, sort_keys=True, indent=1).encode() + b"\n"


def _checksum(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _synced(path: Path) -> None:
    """What was written there is on the disk, so that no power cut can put the manifest there before its files."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _refuse_foreign(folder: Path) -> None:
    """A wrong path must not cost anyone their files: only a folder that looks like an index is replaced."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise FileExistsError(f"{folder} is a file: name a folder for the index")
    ours = {MANIFEST, _NEW_MANIFEST, LOCK}
    with suppress(DamagedIndex):
        ours |= _EARLIER & set(current(folder).facts["files"])
    foreign = [
        entry.name for entry in folder.iterdir() if entry.name not in ours and not _GENERATION.fullmatch(entry.name)
    ]
    if foreign:
        raise FileExistsError(
            f"{folder} holds {min(foreign)}, which is no part of an index: name an empty or new folder"
        )

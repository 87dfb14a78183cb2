"""A folder of files that is either whole or refused: written beside its place and renamed in, every file under a
checksum.

Knows files, checksums and a manifest. Does not know what the files say.
"""

import hashlib
import json
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"


class DamagedIndex(ValueError):
    """An index folder whose files are not what was written. The message names the file and the command that rebuilds
    it.
    """


def write_folder(folder: Path, files: dict[str, bytes], facts: dict[str, Any]) -> None:
    """Writes files and a manifest of facts and checksums (SHA-256) as `folder`, replacing an earlier one only when the
    new one is whole.

    Between the two renames of a replacement there is an instant without `folder`; a process killed there leaves the old
    one beside it under a hidden name. Raises FileExistsError when `folder` holds anything that such a write would not
    have put there, or is a file.
    """
    folder = folder.resolve()
    _refuse_foreign(folder, files)
    folder.parent.mkdir(parents=True, exist_ok=True)
    tag = uuid.uuid4().hex[:8]
    fresh, old = folder.with_name(f".{folder.name}.new-{tag}"), folder.with_name(f".{folder.name}.old-{tag}")
    try:
        fresh.mkdir()
        for name, content in files.items():
            (fresh / name).write_bytes(content)
        checksums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        (fresh / MANIFEST).write_bytes(_manifest({**facts, "files": checksums}))
        if folder.exists():
            os.rename(folder, old)
        try:
            os.rename(fresh, folder)
        except OSError:
            if old.exists():
                os.rename(old, folder)
            raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)


def read_folder(folder: Path, names: tuple[str, ...], remedy: str) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The named files' bytes and the manifest's facts, after every checksum has been compared.

    `remedy` says what to do and ends each message. Raises FileNotFoundError when there is no such folder, DamagedIndex
    when a file is missing or differs from what was written.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no index at {folder}: {remedy}")
    raw = _bytes(folder / MANIFEST, remedy)
    try:
        facts = json.loads(raw)
        recorded = facts.pop("sha256")
        checksums = dict(facts["files"])
        # The whole file must be its own canonical form, so that no byte of it can differ unnoticed.
        if raw != _manifest(facts) or not isinstance(recorded, str):
            raise ValueError("checksum differs")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedIndex(f"damaged index: {folder / MANIFEST} ({error}): {remedy}") from error
    files: dict[str, bytes] = {}
    for name in names:
        files[name] = _bytes(folder / name, remedy)
        if hashlib.sha256(files[name]).hexdigest() != checksums.get(name):
            raise DamagedIndex(f"damaged index: {folder / name} (checksum differs): {remedy}")
    return files, facts


def _manifest(facts: dict[str, Any]) -> bytes:
    """The manifest's bytes: facts in a fixed form with the checksum of that form without it."""
    bare = json.dumps(facts, sort_keys=True).encode()
    return json.dumps({**facts, "sha256": hashlib.sha256(bare).hexdigest()}, sort_keys=True, indent=1).encode() + b"\n"


def _bytes(file: Path, remedy: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise DamagedIndex(f"damaged index: {file} ({error.strerror or error}): {remedy}") from error


def _refuse_foreign(folder: Path, files: dict[str, bytes]) -> None:
    """A wrong path must not cost anyone their files: only a folder that looks like an index is replaced."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise FileExistsError(f"{folder} is a file: name a folder for the index")
    foreign = sorted(entry.name for entry in folder.iterdir() if entry.name not in {*files, MANIFEST})
    if foreign:
        raise FileExistsError(f"{folder} holds {foreign[0]}, which is no part of an index: name an empty or new folder")

"""The command `winnow label`: rate replies in a page on this machine, or put several raters' answers together."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from service.console import plain_errors, say

EXAMPLE = "Example: winnow label replies.jsonl --rater ada, then winnow label replies.jsonl --export labelled.jsonl"


def label(
    file: Annotated[Path, typer.Argument(help="JSON Lines: id, context, reply, maybe sentence and quote; or pools")],
    rater: Annotated[str | None, typer.Option(help="who is rating: letters, digits, - and _")] = None,
    ask: Annotated[
        list[str] | None, typer.Option(help="safety, quality or grounding; may be given again; default: all that apply")
    ] = None,
    port: Annotated[int, typer.Option(help="port of the page; 0: a free one")] = 0,
    export: Annotated[
        Path | None, typer.Option(help="write what most raters say, for `winnow eval` and `winnow calibrate`")
    ] = None,
) -> None:
    """Rate replies by hand: safety, quality, and whether a source bears a sentence out.

    A line in: {"id", "context": [{"role", "content"}, ...], "reply", "sentence"?, "quote"?}, or a pool with "candidates". Answers are
    kept as they are given, in FILE.labels.RATER.jsonl, and a later start goes on from there. A reply is safe where more than half of
    its raters find no violation.
    """
    with plain_errors():
        if export is not None:
            _export(file, export)
        else:
            _serve(file, rater, ask or ["safety", "quality", "grounding"], port)


def _serve(file: Path, rater: str | None, asked: list[str], port: int) -> None:
    import uvicorn

    from classifiers import load_policy
    from service.labelling import ADDRESS, create_page
    from service.labels import SETS, Sheet, answers_path, questions_of, read_items

    if rater is None:
        raise ValueError("say who is rating with --rater NAME, or name a file for the result with --export")
    for name in asked:
        if name not in SETS:
            raise ValueError(f"--ask is {name!r}; allowed: {', '.join(SETS)}")
    path, items = answers_path(file, rater), read_items(file)
    if not any(questions_of(item, asked, {}) for item in items):
        raise ValueError(f"{file} holds no sentence with its quote, so there is nothing to ask; see --ask")
    with _held(path, rater), socket.socket(socket.AF_INET, socket.SOCK_STREAM) as door:
        sheet = Sheet(path, items)
        page = create_page(sheet, items, asked, load_policy(), rater)
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind((ADDRESS, port))
        door.listen()  # whoever opens the address as soon as it is printed waits, and is not refused
        if sheet.stale:
            say(f"{sheet.stale} answers are about texts that have changed since, and do not count")
        say(f"{len(items)} items; answers are kept in {path}; end with Ctrl-C")
        print(f"http://{ADDRESS}:{door.getsockname()[1]}/", flush=True)
        uvicorn.Server(uvicorn.Config(page, log_level="warning")).run(sockets=[door])


@contextmanager
def _held(answers: Path, rater: str) -> Iterator[None]:
    """While the block runs nobody else writes these answers, nor reads them half written. Raises ValueError where somebody does."""
    from filelock import FileLock, Timeout

    try:
        with FileLock(answers.with_name(f".{answers.name}.lock"), timeout=0):
            yield
    except Timeout as error:
        raise ValueError(f"{rater} is rating in another window; end that `winnow label` first") from error


def _export(file: Path, output: Path) -> None:
    from service.labels import Sheet, answers_path, raters_of, read_items
    from service.merging import merge

    items, beside = read_items(file), output.with_suffix(".agreement.json")
    for path in (output, beside):
        if path.exists():
            raise ValueError(f"{path} exists; name another file with --export")
    sheets = {}
    for rater in raters_of(file):
        with _held(answers_path(file, rater), rater):
            sheets[rater] = Sheet(answers_path(file, rater), items)
    if not any(sheet.answers for sheet in sheets.values()):
        raise ValueError(f"nobody has rated {file} yet; begin with: winnow label {file} --rater NAME")
    merged = merge(items, {rater: sheet.answers for rater, sheet in sheets.items()})
    output.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in merged.rows)
    # Half a character is written as \ud800, which is JSON again.
    output.write_text(text, encoding="utf-8", errors="backslashreplace")
    found = {
        "raters": list(sheets),
        "agreement": {
            name: {"krippendorff_alpha": each.alpha, "items": each.items} for name, each in merged.agreement.items()
        },
        "one_rater": merged.one_rater,
        "undecided": merged.undecided,
        "stale": {rater: sheet.stale for rater, sheet in sheets.items() if sheet.stale},
    }
    found_text = json.dumps(found, ensure_ascii=False, indent=1) + "\n"
    beside.write_text(found_text, encoding="utf-8", errors="backslashreplace")
    for name, each in merged.agreement.items():
        value = "not defined" if each.alpha is None else f"{each.alpha:.2f}"
        say(f"{name}: Krippendorff's alpha {value} over {each.items} items with two raters or more")
    if merged.one_rater:
        say(f"{len(merged.one_rater)} items have one rater alone; their lines say so")
    for row in merged.undecided:
        reasons = [f"tied on {', '.join(row['tied'])}"] if row["tied"] else []
        reasons += [f"no answer to {', '.join(row['not_answered'])}"] if row["not_answered"] else []
        say(f"undecided: {row['id']}: {'; '.join(reasons)}")
    for rater, sheet in sheets.items():
        if sheet.stale:
            say(f"{rater}: {sheet.stale} answers are about texts that have changed since, and do not count")
    say(f"{len(merged.rows)} items written to {output}; agreement and what is undecided to {beside}")

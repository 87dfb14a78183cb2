"""What every command shares: progress bars, settings from its options, and known errors as one line.

Knows the terminal. Does not know what a command does.
"""

import logging
import tomllib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

console = Console(stderr=True)

Progress = Callable[[str, int | None], AbstractContextManager[Callable[[int], None]]]
"""progress(what, total) as advance: then advance(n) for each n that are done."""


@contextmanager
def progress(what: str, total: int | None) -> Iterator[Any]:
    """A bar on standard error while the block runs."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bars(*columns, TimeRemainingColumn(), console=console) as bars:
        task = bars.add_task(what, total=total)
        yield lambda n: bars.advance(task, n)


def say(line: str) -> None:
    """A line on standard error, as it is."""
    console.print(line, markup=False, soft_wrap=True)


def settings_of(**options: Any) -> Any:
    """`Settings` with the options that were given. Raises ValidationError, ValueError."""
    from service.settings import Settings

    try:
        return Settings(**{name: value for name, value in options.items() if value is not None})
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"winnow.toml: cannot be read as TOML: {error}") from error


@contextmanager
def plain_errors() -> Iterator[None]:
    """Known errors as one line and exit code 2, without a traceback."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        yield
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        console.print(f"error: setting {name}: {first['msg']}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(2) from error
    except (ValueError, LookupError, OSError) as error:
        console.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(2) from error

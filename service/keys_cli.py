"""The commands `winnow keys add|list|remove`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from service.console import plain_errors, say, settings_of

EXAMPLE = "Example: winnow keys add web-page --scope chat --requests-per-minute 60 --keys keys.toml"

app = typer.Typer(help="API keys: who may ask the server, for what and how much.", no_args_is_help=True)

FileOption = Annotated[Path | None, typer.Option("--keys", help="the keys' file; default: the setting keys")]


@app.command(epilog=EXAMPLE)
def add(
    name: Annotated[str, typer.Argument(help="whose key it is: letters, digits, . _ and -")],
    scope: Annotated[
        list[str] | None, typer.Option(help="chat, screen, debug or metrics; may be given again; default: chat")
    ] = None,
    requests_per_minute: Annotated[int | None, typer.Option(help="in any minute; default: no limit")] = None,
    tokens_per_day: Annotated[
        int | None,
        typer.Option(help="read and written by the chat model, all candidates included; default: no limit"),
    ] = None,
    keys: FileOption = None,
) -> None:
    """Make a key and print it, this once; the file keeps its hash alone. A server that runs takes it up."""
    with plain_errors():
        from service.keys import SCOPES, add_key

        for each in scope or []:
            if each not in SCOPES:
                raise ValueError(f"--scope is {each!r}; allowed: {', '.join(SCOPES)}")
        path = _path(keys)
        made = add_key(path, name, scope or ["chat"], requests_per_minute, tokens_per_day)
        say(f"the key of {name}, added to {path}; it is shown this once:")
        print(made)


@app.command("list", epilog="Example: winnow keys list --keys keys.toml")
def show(keys: FileOption = None) -> None:
    """List the keys by name, with what they are good for. The keys themselves are not known."""
    with plain_errors():
        from service.keys import read_keys

        table = Table("name", "scopes", "requests a minute", "tokens a day", "since")
        for key in read_keys(_path(keys)):
            limits = [str(limit or "no limit") for limit in (key.requests_per_minute, key.tokens_per_day)]
            table.add_row(key.name, ", ".join(sorted(key.scopes)), *limits, key.created.isoformat())
        Console().print(table)


@app.command(epilog="Example: winnow keys remove web-page --keys keys.toml")
def remove(
    name: Annotated[str, typer.Argument(help="whose key it is")],
    keys: FileOption = None,
) -> None:
    """Remove a key. A server that runs refuses it within a second."""
    with plain_errors():
        from service.keys import remove_key

        path = _path(keys)
        remove_key(path, name)
        say(f"the key of {name} was removed from {path}")


def _path(given: Path | None) -> Path:
    path: Path | None = given or settings_of().keys
    if path is None:
        raise ValueError('name the file of the keys with --keys, or in winnow.toml: keys = "keys.toml"')
    return path

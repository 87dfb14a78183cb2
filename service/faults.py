"""What may be logged of an error: its type and where it happened, never its message, which may quote a dropped text (law 7)."""

import traceback


def describe(error: BaseException) -> str:
    """The error's type and its trace, without its message."""
    return f"{type(error).__name__}\n" + "".join(traceback.format_tb(error.__traceback__))

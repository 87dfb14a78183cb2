"""The suites of `winnow eval`, each a file on one base (`base.py`): their names and where they are, loaded when they are asked for."""

from importlib import import_module

from service.suites.base import Suite

SUITES: dict[str, str] = {
    name: f"service.suites.{name}"
    for name in (
        "classify",
        "pick",
        "bias",
        "robust",
        "retrieve",
        "ground",
        "quality",
        "live",
        "toxicity",
        "memorised",
        "speed",
    )
}
"""Name on the command line -> module that holds it as SUITE, in the order in which they run."""

OF_FILES = ("classify", "pick")
"""The suites that judge labelled exchanges of a user's own, where files are named."""


def load(name: str) -> Suite:
    """The suite of that name. Raises ValueError naming those that there are."""
    if name not in SUITES:
        raise ValueError(f"there is no suite {name!r}; there are: {', '.join(SUITES)}")
    suite: Suite = import_module(SUITES[name]).SUITE
    return suite

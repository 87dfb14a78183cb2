"""Progress that nobody sees."""

from contextlib import contextmanager


@contextmanager
def silent(what, total):
    yield lambda n: None

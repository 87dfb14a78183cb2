"""The suites of `winnow eval`, each a file on one base (`base.py`)."""

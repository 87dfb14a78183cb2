"""One script for each claim that the README makes about speed or quality."""

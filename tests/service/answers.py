"""What came back from the chat door, read as a client reads it."""

import json
from typing import Any

import httpx

HOW: tuple[dict[str, Any], ...] = ({}, {"stream": True}, {"stream": True, "stream_mode": "sentence"})
"""The routes that a reply can take: whole, and streamed in both modes."""


def events_of(response: httpx.Response) -> list[dict[str, Any]]:
    """The chunks of a stream, an error among them."""
    rows = [row.removeprefix("data: ") for row in response.text.split("\n\n") if row.startswith("data: {")]
    return [json.loads(row) for row in rows]


def said_by(response: httpx.Response) -> str:
    """All words of all replies, in the order in which they came; of an error none."""
    streamed = response.headers.get("content-type", "").startswith("text/event-stream")
    rows = events_of(response) if streamed else [response.json()]
    choices = [choice for row in rows for choice in row.get("choices", [])]
    return "".join(choice.get("delta", choice.get("message", {})).get("content") or "" for choice in choices)

"""What runs: the corridor from messages to a reply, and its doors. Start reading at `chat.py`."""

"""The adapter to Claude. `loop.py` answers one turn; `client.py` is the only place that knows the SDK."""

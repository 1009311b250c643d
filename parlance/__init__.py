"""Parlance: an embeddable website chat. Start reading at `turns.py`, or at docs/walk.md."""

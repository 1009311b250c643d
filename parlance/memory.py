"""What the model is told of the conversation so far: a window over confirmed text, bounded by tokens.

The window slides in blocks. If it dropped one exchange a turn, the prompt's beginning would change every turn and the
cache would never hit; so when it is full, it lets go of exchanges until it is half empty, and then grows again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

KEEP = 0.5  # of the window, after a slide
BYTES_A_TOKEN = 3


class Said(Protocol):
    """The part of a message that memory looks at."""

    @property
    def role(self) -> str: ...
    @property
    def text(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Window:
    """`start` is the index of the first message that is still remembered; `tokens` an upper estimate of the rest."""

    start: int
    tokens: int


def estimate(text: str) -> int:
    """Tokens of a text, on the safe side: a third of its UTF-8 bytes (today's tokenizers make about one token of 3 to 4
    Latin letters, and one to two of a Chinese character), and a little for the message around it."""
    return len(text.encode("utf-8", "replace")) // BYTES_A_TOKEN + 8


def window(messages: Sequence[Said], limit: int) -> Window:
    """Where the window stands after these messages, oldest first. It always begins with a visitor's message, and the
    newest message is in it however long it is. Windows add up: what lies before one is not needed to find the next."""
    start, total = 0, 0
    sizes = [estimate(message.text) for message in messages]
    for i, size in enumerate(sizes):
        total += size
        full = total > limit
        while start < i and ((full and total > limit * KEEP) or messages[start].role != "visitor"):
            total -= sizes[start]
            start += 1
    return Window(start, total)

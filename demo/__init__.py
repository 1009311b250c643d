"""The demo responder: a WSGI app that speaks the Messages API, honestly and without a model.

It answers from the texts in the system prompt, uses tools, streams, counts tokens, simulates the prompt cache, refuses
what the real API refuses, and takes scripted faults. It imports nothing of Parlance and enters as an HTTP transport.
"""

from demo.app import Demo
from demo.script import Script
from demo.server import serve

__all__ = ["Demo", "Script", "serve"]

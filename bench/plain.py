"""The handler that everybody writes first, for comparison: Flask, the SDK's streaming helper, one SSE event a delta.

It keeps nothing: no journal, no limits, no ledger, no memory, no way back for a visitor whose connection broke. The
address of the Messages API comes from ANTHROPIC_BASE_URL, as the SDK wants it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from anthropic import Anthropic
from flask import Flask, Response, request

app = Flask(__name__)
claude = Anthropic()


@app.get("/healthz")
def alive() -> str:
    return "alive"


@app.post("/chat")
def chat() -> Response:
    return Response(answer(request.get_json()["message"]), mimetype="text/event-stream")


def answer(question: str) -> Iterator[str]:
    said = [{"role": "user", "content": question}]
    with claude.messages.stream(model="claude-sonnet-5-5", max_tokens=1024, messages=said) as stream:
        for text in stream.text_stream:
            yield f"event: text\ndata: {json.dumps({'text': text})}\n\n"
    yield "event: done\ndata: {}\n\n"

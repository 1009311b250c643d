"""The whole product behind a door that the relay bench can knock at: one POST with a message, one stream back.

The bench knows a visitor by one token; the protocol wants a token, a conversation and a message id. This door only
translates: every request goes through the real application, with its journal, limits and ledger.
"""

from gevent import monkey; monkey.patch_all()  # noqa: E702, I001 - before anything imports ssl, socket or threading

import io
import json
import sys
import uuid
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from app import create_app

product = create_app()
services = product.extensions["parlance"]
services.sites.apply(services.sites.read([Path(__file__).with_name("site.yaml")]).sites)


class Application:
    """Looks like the product to gunicorn.conf.py, and like a plain chat to the bench."""

    extensions = product.extensions

    def __call__(self, environ, start_response):
        if environ["PATH_INFO"] == "/open":
            return open_session(environ, start_response)
        if environ["PATH_INFO"] == "/chat":
            environ = asked(environ)
        return product(environ, start_response)


application = Application()


def asked(environ):
    """`{"message", "token": "TOKEN CONVERSATION"}` as the protocol's POST /v1/messages."""
    body = msgspec.json.decode(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
    token, conversation = body["token"].split()
    message = {"conversation": conversation, "id": str(uuid.uuid4()), "text": body["message"]}
    asking = msgspec.json.encode(message)
    return with_body(environ, "/v1/messages", asking) | {"HTTP_AUTHORIZATION": f"Bearer {token}"}


def open_session(environ, start_response):
    replies = []
    request = with_body(environ, "/v1/sessions", b'{"site":"bench"}')
    parts = product(request, lambda status, headers, *_: replies.append(status))
    session = json.loads(b"".join(parts))
    token = f"{session['token']} {session['conversation']['id']}"
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"token": token}).encode()]


def with_body(environ, path, body):
    return environ | {
        "PATH_INFO": path,
        "RAW_URI": path,
        "CONTENT_LENGTH": str(len(body)),
        "CONTENT_TYPE": "application/json",
        "wsgi.input": io.BytesIO(body),
    }

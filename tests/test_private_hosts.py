"""PARLANCE_PRIVATE_TOOL_HOSTS: places of the operator's own network, read into the form in which the guard compares."""

from __future__ import annotations

import pytest

from parlance import settings
from parlance.errors import SettingsError
from parlance.web import guard

NAME = "PARLANCE_PRIVATE_TOOL_HOSTS"


def test_no_place_is_allowed_unless_it_is_named():
    assert settings.read({}).private_tool_hosts == settings.read({NAME: " , "}).private_tool_hosts == frozenset()


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("Orders.LAN:8080", "http://orders.lan:8080/x"),
        ("127.0.0.1:80", "http://127.0.0.1/x"),
        ("[0:0:0:0:0:0:0:1]:8443", "https://[::1]:8443/"),
        ("redis:0443", "https://redis/"),
    ],
)
def test_a_place_that_is_named_passes_the_guard(entry, url):
    allowed = settings.read({NAME: f"other.lan:1, {entry}"}).private_tool_hosts
    assert len(allowed) == 2
    assert guard.destination(url, allowed).private


NONSENSE = """
    orders.lan orders.lan: :80 http://orders.lan:80 orders.lan:0 orders.lan:65536 ::1:80 [::g]:80 *:80 10.0.0.0/8:80
    a@b:80 a.lan:80x a.lan:80;b.lan:80
"""


@pytest.mark.parametrize("value", [*NONSENSE.split(), "a.lan:80 b.lan:80"])
def test_nonsense_is_refused_by_name(value):
    with pytest.raises(SettingsError, match=NAME):
        settings.read({NAME: value})

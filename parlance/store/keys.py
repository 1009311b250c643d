"""Every key there is, one function each. A site's keys share the hash tag `{site}`, so that one script may touch
any of them, on a Redis Cluster too. Example, type and lifetime stand with each."""

from __future__ import annotations


def sites() -> str:
    """`parlance:sites` - set of site keys; for ever."""
    return "parlance:sites"


def site(key: str) -> str:
    """`parlance:{fern}:site` - hash `version`, `json` (the whole site as stored); for ever."""
    return f"parlance:{{{key}}}:site"


def site_versions(key: str) -> str:
    """`parlance:{fern}:site:versions` - hash version -> JSON {at, message, json}; for ever."""
    return f"parlance:{{{key}}}:site:versions"

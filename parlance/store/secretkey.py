"""SECRET_KEY where the environment has none: made once, kept in the data folder, readable by its owner only."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from parlance.settings import Secret, Settings


def secret_key(settings: Settings) -> Secret:
    """The key that signs visitors' tokens: the setting, else the one kept in `DATA/secret_key`, made if need be.

    Every worker may call this at once: a link appears whole or not at all, and the first one wins.
    """
    return settings.secret_key or _kept(settings.data_dir / "secret_key")


def _kept(path: Path) -> Secret:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"secret_key.{os.getpid()}.{secrets.token_hex(4)}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(48))
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    return Secret(path.read_text("ascii").strip())

"""How a command says what went wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from parlance.errors import SiteFileError, SiteNotFound, StoreUnavailable


@contextmanager
def in_plain_words() -> Iterator[None]:
    """What went wrong on standard error, without a traceback, and exit status 1."""
    try:
        yield
    except SiteFileError as error:
        for mistake in error.mistakes:
            click.echo(str(mistake), err=True)
        count = len(error.mistakes)
        raise click.ClickException(f"{count} mistake{'s' if count > 1 else ''}; nothing was applied.") from error
    except SiteNotFound as error:
        raise click.ClickException(f"{error}. `flask sites list` names those there are.") from error
    except StoreUnavailable as error:
        raise click.ClickException(f"{error}. Is the server running, or REDIS_URL right?") from error

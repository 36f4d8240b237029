"""Where this user's files lie by default, as the XDG Base Directory Specification says; in a container often nowhere.

A user without an entry in the password file and without HOME has no such place.  That is an error only where one is
needed and none was named.
"""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from fusefs.errors import InvalidSetting


def home() -> Path | None:
    """The home directory: what HOME says, else the password file; None where neither names an absolute path."""
    named = os.environ.get("HOME", "")
    if not named:
        try:
            named = pwd.getpwuid(os.getuid()).pw_dir
        except KeyError:
            return None
    return Path(named) if named.startswith("/") else None


def cache_home() -> Path | None:
    """Where fetched bytes and computed digests are kept; None where there is no place."""
    return _below("XDG_CACHE_HOME", ".cache")


def state_home() -> Path | None:
    """Where logs are kept; None where there is no place."""
    return _below("XDG_STATE_HOME", ".local/state")


def needed_cache_home() -> Path:
    """As `cache_home`, for who cannot do without.

    Raises:
        InvalidSetting: there is none.
    """
    found = cache_home()
    if found is None:
        raise InvalidSetting(
            "this user has no home directory to keep a cache in: name one with --cache-dir or $FUSEFS_CACHE_DIR"
        )
    return found


def _below(variable: str, fallback: str) -> Path | None:
    # A relative path there is to be ignored, says the specification.
    if (named := os.environ.get(variable, "").strip()).startswith("/"):
        return Path(named) / "fusefs"
    found = home()
    return found / fallback / "fusefs" if found is not None else None

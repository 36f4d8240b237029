"""Where Azurite is: Azure's buckets on loopback, which scripts/setup has from npm."""

from __future__ import annotations

from pathlib import Path

AZURITE = Path(__file__).parents[1] / ".venv/node/node_modules/.bin/azurite-blob"


def has_azurite() -> bool:
    """Whether scripts/setup could install it: npm's registry is asked for it, and PyPI for npm where there is none."""
    return AZURITE.exists()

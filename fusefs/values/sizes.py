"""Sizes as a person reads them."""

from __future__ import annotations

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def size_text(count: float) -> str:
    """Bytes in three digits or so: `0 B`, `999 B`, `1.0 KiB`, `23.4 MiB`, `812 GiB`."""
    value, unit = float(count), 0
    # 999.5 of a unit would be written with four digits.
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    if unit == 0:
        return f"{value:.0f} B"
    return f"{value:.1f} {_UNITS[unit]}" if value < 99.95 else f"{value:.0f} {_UNITS[unit]}"

"""Product: the fusefs that is measured, that of this checkout or that of another one."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.benchmarks.stage import CommandFailed, run

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Product:
    """One fusefs.

    Attributes:
        name: in tables.
        argv: the words that start it; a command and its options follow.
    """

    name: str
    argv: tuple[str, ...]


INSTALLED = Product("fusefs", (str(Path(sys.executable).with_name("fusefs")),))
_measured = [INSTALLED]


def command(*words: str | Path) -> list[str | Path]:
    """The command line of a command of the fusefs that is being measured."""
    return [*_measured[-1].argv, *words]


@contextlib.contextmanager
def measured(product: Product) -> Iterator[None]:
    """Everything that begins meanwhile runs this one."""
    _measured.append(product)
    try:
        yield
    finally:
        _measured.remove(product)


def checkout(name: str, folder: Path, own: Path) -> Product:
    """The fusefs of a checkout, by this interpreter and with the packages of this environment.

    It is the same way to start for every checkout, so that the start itself is no difference; and what one version
    writes into its home below `own` the other does not see.

    Raises:
        CommandFailed: there is none, or it needs a package that is not here.
    """
    homes = [f"XDG_{kind}_HOME={own / kind.lower()}" for kind in ("STATE", "CACHE", "CONFIG")]
    # -P keeps the folder in which the command runs off the path of modules: there is another fusefs in it.
    python = ("env", f"PYTHONPATH={folder}", *homes, sys.executable, "-P")
    where = "import pathlib, fusefs; print(pathlib.Path(fusefs.__file__).resolve().parents[1])"
    found = run([*python, "-c", where], limit=60).out.strip()
    if found != str(folder.resolve()):
        raise CommandFailed(f"{folder} has no fusefs: {found} was found in its place")
    # What Python compiles at the first start it would compile while that is measured.
    run([sys.executable, "-m", "compileall", "-q", folder / "fusefs"], limit=120)
    product = Product(name, (*python, "-m", "fusefs"))
    run([*product.argv, "mount", "--help"], limit=60)
    return product

"""One target under libFuzzer: `python -m tests.fuzz.harness TARGET [libFuzzer's options]`, in a process of its own.

Nothing of fusefs may be imported before it can be instrumented, so this is where the targets are imported.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["fusefs"]):
    from tests.fuzz.targets import target_of


def main() -> None:
    """Feed the target until libFuzzer has enough, which ends the process."""
    program, name, *options = sys.argv
    atheris.Setup([program, *options], target_of(name).check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

"""`scripts/fuzz [TARGET…] [--seconds N]`: a line a target, a summary, status 1 when an input broke a promise."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.fuzz.run import run
from tests.fuzz.targets import TARGETS


def main() -> None:
    """Run the targets that were asked for, one after the other."""
    arguments = _arguments()
    outcomes = []
    for name in arguments.targets or TARGETS:
        outcome = run(name, arguments.directory, [f"-max_total_time={arguments.seconds}"], seed=arguments.seed)
        outcomes.append(outcome)
        print(outcome, flush=True)
        if not outcome.good:
            print("\n".join(outcome.output.splitlines()[-40:]), file=sys.stderr)
    bad = [outcome for outcome in outcomes if not outcome.good]
    total = sum(outcome.executions for outcome in outcomes)
    print(f"{len(outcomes)} targets, {total:,} executions, {len(bad)} failed")
    sys.exit(1 if bad else 0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description="Feed hostile bytes to everything that parses.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"all by default: {', '.join(TARGETS)}")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (60)")
    parser.add_argument(
        "--seed", type=int, default=0, help="the same seed tries the same inputs; 0 takes another each time"
    )
    parser.add_argument("--directory", type=Path, default=Path(".fuzz"), help="keeps the corpus and what broke (.fuzz)")
    arguments = parser.parse_args()
    unknown = set(arguments.targets) - set(TARGETS)
    if unknown:
        parser.error(f"unknown target: {', '.join(sorted(unknown))}")
    arguments.directory = arguments.directory.absolute()
    return arguments


if __name__ == "__main__":
    main()

"""`fusefs verify`: is everything in the cache what it was?  Is a model what somebody has signed?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from fusefs.cli import standard
from fusefs.cli.answers import FAILED, finish, warn
from fusefs.cli.parameters import (
    PLACE,
    cache_dir_of,
    cache_option,
    fetch_options,
    settings_of,
    sha256_option,
    verbose_option,
)
from fusefs.cli.signature import signature_options, signed_by

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fusefs.engine.engine import Engine
    from fusefs.values.names import Name
    from fusefs.values.reference import LocalPath, Reference
    from fusefs.values.signed import Signed
    from fusefs.values.snapshot import Snapshot


@click.command(short_help="Hash everything in the cache, or compare a model with its signature.")
@click.argument("sources", metavar="[SOURCE]", nargs=-1, type=PLACE)
@sha256_option
@cache_option
@fetch_options
@signature_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document at the end instead of progress.")
@verbose_option
def verify(sources: tuple[Reference, ...], **options: Any) -> int:
    """Hash everything in the cache; data that does not match is dropped, and fetched again when it is read.

    Mounts may run meanwhile.  Exits with 1 when something had to be dropped.

    With a SOURCE and --signature: fetch the model whole, or read the folder, and compare every byte with what was
    signed.  Exits with 1 when it is another model, and names the first difference.
    """
    from fusefs.daemon.logs import to_stderr

    settings = settings_of(options)
    signed = signed_by(options, settings, len(sources))
    to_stderr(verbose=options["verbose"], quiet=True)
    if signed is not None:
        return _compare(sources[0], signed, options)
    if sources:
        raise click.UsageError("a SOURCE is compared with a signature: say which with --signature")
    return _all(cache_dir_of(options["cache_dir"]), as_json=options["as_json"])


def _all(cache_dir: Path, *, as_json: bool) -> int:
    import time

    from fusefs.upkeep.verifying import verify_all
    from fusefs.view.screen import screen
    from fusefs.view.summary import not_verified, verified

    with standard.ended_by_sigterm(), screen(time.monotonic(), silent=as_json) as shown:
        report = verify_all(cache_dir, lambda items: shown.show(items, time.monotonic()))
    return finish(report, verified(report), not_verified(report), as_json=as_json)


def _compare(source: Reference, signed: Signed, options: dict[str, Any]) -> int:
    from fusefs.values.names import Name
    from fusefs.values.signedreport import SignedReport
    from fusefs.view.summary import as_signed

    models = _fetched(source, signed, options) if isinstance(source, Name) else _folder(source, signed, options)
    if models is None:
        return FAILED
    files = [file for model in models for file in model.files]
    size = sum(len(file.content) if isinstance(file.content, bytes) else file.content.size for file in files)
    report = SignedReport(str(source), signed.voucher.who, len(files), size)
    return finish(report, as_signed(report), "", as_json=options["as_json"])


def _folder(source: LocalPath, signed: Signed, options: dict[str, Any]) -> Sequence[Snapshot]:
    """A folder that is what was signed; every file of it was read."""
    from fusefs.engine.comparing import compare_local
    from fusefs.engine.local import LocalOpener
    from fusefs.view.serving import HashingBar

    bar = HashingBar()
    progress = None if options["as_json"] else bar
    opener = LocalOpener(settings_of(options).memory // 4, others=False, warn=warn, progress=progress)
    opener.open(source)
    bar.clear()
    compare_local(signed, opener.models, anew=True)
    return opener.models.snapshots[source]


def _fetched(name: Name, signed: Signed, options: dict[str, Any]) -> Sequence[Snapshot] | None:
    """A model that was fetched whole, proved, and is what was signed; None of one that could not be had."""
    import time

    from fusefs.engine.comparing import compare_parts
    from fusefs.engine.demands import Demands
    from fusefs.engine.options import PullOptions
    from fusefs.engine.pulling import pull
    from fusefs.view.screen import screen
    from fusefs.view.summary import not_pulled

    found: list[Snapshot] = []

    def compare(engine: Engine, models: Sequence[Snapshot]) -> None:
        compare_parts(signed, engine.fetcher, models)
        found.extend(models)

    demands = Demands(signed=signed, parts_later=True)
    cache, settings, as_json = cache_dir_of(options["cache_dir"]), settings_of(options), options["as_json"]
    wanted = PullOptions((name,), cache, options["stores"], settings, warn, demands=demands)
    with screen(time.monotonic(), silent=as_json) as shown:
        report = pull(wanted, lambda items: shown.show(items, time.monotonic()), compare)
    if not found:
        finish(report, [], not_pulled(report), as_json=as_json)
    return found or None

"""`--signature`: what a model must be made of, because somebody has signed it whom the person believes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from fusefs.cli.optionfile import read_option_file
from fusefs.cli.parameters import PATH, WORD, selection_of, together
from fusefs.errors import InvalidSetting, SourceError
from fusefs.values.names import without_user
from fusefs.values.settings import MIB

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fusefs.signatures.signertrust import Trust
    from fusefs.values.settings import Settings
    from fusefs.values.signed import Signed

_MAX_TRUST = MIB
"""Bytes of a key, of certificates, of a trusted root."""

signature_options = together(
    click.option(
        "--signature",
        type=WORD,
        metavar="FILE",
        help="What the model must be made of: its signature by OpenSSF Model Signing, a file or a URL (https://host/"
        "model.sig). With it goes one of --key, --certificate-chain and --identity.",
    ),
    click.option(
        "--key", "key_file", type=PATH, metavar="FILE", help="The public key that must have made the signature."
    ),
    click.option(
        "--certificate-chain",
        "chain_files",
        type=PATH,
        metavar="FILE",
        multiple=True,
        help="Certificates to which that of the signer must lead; may be given several times.",
    ),
    click.option(
        "--identity",
        metavar="NAME",
        help="Whom Sigstore must have known the signer as: an address, or the URL of a workflow.",
    ),
    click.option(
        "--identity-provider", metavar="URL", help="Who must have vouched for --identity: the issuer of the token."
    ),
    click.option(
        "--trust-root",
        "root_file",
        type=PATH,
        metavar="FILE",
        help="The trusted root (or trust configuration) of another Sigstore than the public one.",
    ),
    click.option(
        "--ignore-unsigned-files",
        is_flag=True,
        help="Accept a model that has more files than were signed.",
    ),
)


class _Given(NamedTuple):
    """What of it a person wrote."""

    signature: str | None
    key_file: Path | None
    chain_files: Sequence[Path]
    identity: str | None
    identity_provider: str | None
    root_file: Path | None
    ignore_unsigned_files: bool


def signed_by(options: dict[str, Any], settings: Settings, count: int) -> Signed | None:
    """What was signed, by whom a person believes; None where he has not asked for it.

    Args:
        options: of a command with `signature_options`.
        settings: for a signature on the web.
        count: how many SOURCEs there are.

    Raises:
        click.UsageError: the options do not go together.
        FusefsError: the signature cannot be had, is none, or is not by whom it should be.
    """
    given = _Given(**{name: options[name] for name in _Given._fields})
    _check(given, count)
    if given.signature is None:
        return None
    from fusefs.signatures.signertrust import verified

    trust = _trust(given)
    raw = _read_signature(given.signature, settings)
    try:
        signed = verified(raw, trust, _shown(given.signature), ignore_unsigned=given.ignore_unsigned_files)
    except InvalidSetting as exc:
        option = "--key" if given.key_file else "--certificate-chain" if given.chain_files else "--trust-root"
        file = given.key_file or next(iter(given.chain_files), given.root_file)
        raise InvalidSetting(f"{option} {file}: {exc}") from exc
    return replace(signed, selection=selection_of(options)) if "include" in options else signed


def _check(given: _Given, count: int) -> None:
    means = [bool(given.key_file), bool(given.chain_files), bool(given.identity or given.identity_provider)]
    if given.signature is None:
        if any(means) or given.root_file or given.ignore_unsigned_files:
            raise click.UsageError("--key, --certificate-chain, --identity and the like go with --signature")
        return
    if sum(means) != 1:
        raise click.UsageError("--signature wants one of --key, --certificate-chain and --identity: who is believed")
    if means[2] and not (given.identity and given.identity_provider):
        raise click.UsageError("--identity and --identity-provider go together")
    if given.root_file and not means[2]:
        raise click.UsageError("--trust-root goes with --identity")
    if count != 1:
        raise click.UsageError(f"--signature is of one model, and there are {count} SOURCEs")


def _trust(given: _Given) -> Trust:
    from fusefs.signatures.signertrust import Trust

    return Trust(
        key=read_option_file("--key", given.key_file, _MAX_TRUST) if given.key_file else None,
        chain=b"\n".join(read_option_file("--certificate-chain", file, _MAX_TRUST) for file in given.chain_files)
        or None,
        identity=given.identity or "",
        provider=given.identity_provider or "",
        root=(str(given.root_file), read_option_file("--trust-root", given.root_file, _MAX_TRUST))
        if given.root_file
        else None,
    )


def _read_signature(text: str, settings: Settings) -> bytes:
    from pathlib import Path

    from fusefs.signatures.bundle import MAX_BUNDLE_SIZE

    if "://" not in text:
        return read_option_file("--signature", Path(text), MAX_BUNDLE_SIZE)
    from fusefs.sources.remotefile import fetch_file

    try:
        return fetch_file(text, settings, MAX_BUNDLE_SIZE)
    except SourceError as exc:
        raise SourceError(f"--signature: {exc}", temporary=exc.temporary) from exc


def _shown(text: str) -> str:
    return without_user(text)[-80:]

"""Trust: whom a person believes when a signature says what a model is; nobody else counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusefs.errors import InvalidSignature, MissingExtra
from fusefs.signatures.bundle import Bundle
from fusefs.signatures.statement import parse_statement
from fusefs.values.digest import Digest
from fusefs.values.voucher import Proof, Voucher

if TYPE_CHECKING:
    from fusefs.values.signed import Signed


@dataclass(frozen=True, slots=True)
class Trust:
    """One of three: a key, certificates, an identity.

    Attributes:
        key: a public key, PEM or DER.
        chain: certificates that are believed, PEM.
        identity: whom Sigstore must have known the signer as.
        provider: who vouched for that.
        root: path and content of what is trusted of Sigstore; None for its public instance.
    """

    key: bytes | None = None
    chain: bytes | None = None
    identity: str = ""
    provider: str = ""
    root: tuple[str, bytes] | None = None


def verified(raw: bytes, trust: Trust, place: str, *, ignore_unsigned: bool = False) -> Signed:
    """What a signature says, when it is by whom it should be.

    Args:
        raw: the bundle.
        trust: whom a person believes.
        place: where the bundle lies, for messages.
        ignore_unsigned: see `Signed`.

    Raises:
        InvalidSignature: it is none, or somebody else's, or was changed.
        InvalidSetting: what should be a key, certificates or a trusted root is none.
        MissingExtra: what checks it is not installed.
    """
    try:
        bundle = Bundle.parse(raw)
        voucher = Voucher(Proof.SIGNED, _signer(bundle, raw, trust))
        return parse_statement(bundle.payload, voucher, place, Digest.of(raw), ignore_unsigned=ignore_unsigned)
    except InvalidSignature as exc:
        raise InvalidSignature(f"the signature {place}: {exc}") from exc
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] != "cryptography":
            raise  # of our own, so that it is a bug
        raise MissingExtra("--signature", "sign", "cryptography") from exc


def _signer(bundle: Bundle, raw: bytes, trust: Trust) -> str:
    if trust.key is not None:
        from fusefs.signatures.keys import check_key

        return check_key(bundle, trust.key)
    if trust.chain is not None:
        from fusefs.signatures.chains import check_chain

        return check_chain(bundle, trust.chain)
    from fusefs.signatures.keyless import check_identity

    return check_identity(bundle, raw, trust.identity, trust.provider, trust.root)

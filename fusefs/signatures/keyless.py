"""Keyless: a signature by Sigstore: a certificate that lives for minutes, and a log that says when it was used.

All of that is checked by the library of Sigstore, without a network: what it needs is in the bundle and in the trusted
root, which is the public one that the library brings along, or a file.  It is large, and loaded here alone.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

from fusefs.errors import InvalidSetting, InvalidSignature, MissingExtra
from fusefs.values.printable import line_of

if TYPE_CHECKING:
    from sigstore.verify import Verifier

    from fusefs.signatures.bundle import Bundle


def check_identity(bundle: Bundle, raw: bytes, identity: str, provider: str, root: tuple[str, bytes] | None) -> str:
    """Return when a bundle was signed by somebody whom an identity provider knew by that name.

    Args:
        bundle: what `raw` says.
        raw: the bundle as JSON.
        identity: an address, or the URL of a workflow.
        provider: the URL of who vouches for that.
        root: path and content of a trusted root of Sigstore, or of a trust configuration; None for the public one.

    Returns:
        Who signed.

    Raises:
        InvalidSetting: the root is none.
        InvalidSignature: it was signed by somebody else, or in another way, or changed since.
        MissingExtra: the library is not installed.
    """
    if not bundle.keyless:
        other = "a certificate (--certificate-chain)" if bundle.chain else "a key (--key)"
        raise InvalidSignature(f"it was signed with {other} and not by Sigstore")
    try:
        from sigstore.models import Bundle as SigstoreBundle
        from sigstore.verify.policy import Identity
    except ModuleNotFoundError as exc:
        raise MissingExtra("--identity", "sigstore", "sigstore") from exc
    logging.getLogger("sigstore").setLevel(logging.ERROR)  # it warns of being offline, which is what is wanted
    verifier = _verifier(root)
    try:
        _, payload = verifier.verify_dsse(SigstoreBundle.from_json(raw), Identity(identity=identity, issuer=provider))
    except Exception as exc:  # of what a stranger wrote, and of four libraries: they are of many kinds
        why = line_of(str(exc))
        raise InvalidSignature(f"Sigstore does not show that {identity} ({provider}) has signed it: {why}") from exc
    if payload != bundle.payload:
        raise InvalidSignature("what Sigstore has checked is not what stands in it")
    return f"{identity} ({provider})"


def _verifier(root: tuple[str, bytes] | None) -> Verifier:
    from sigstore.models import ClientTrustConfig, TrustedRoot
    from sigstore.verify import Verifier

    try:
        if root is None:
            return Verifier.production(offline=True)
        path, raw = root
        if "trustedRoot" in json.loads(raw):
            return Verifier(trusted_root=ClientTrustConfig.from_json(raw.decode()).trusted_root)
        return Verifier(trusted_root=TrustedRoot.from_file(path))
    except Exception as exc:
        what = "it is no trusted root" if root else "the public one of Sigstore cannot be had; name a file"
        raise InvalidSetting(f"{what}: {line_of(str(exc))}") from exc

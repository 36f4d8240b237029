"""Chains: a signature by a certificate that leads to one which a person believes (OMS 1.0, section 4.1, `certificate`).

The time that counts is now: nobody proves when such a signature was made, so that who steals the key of a certificate
which has ended could date it back.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from fusefs.errors import InvalidSetting, InvalidSignature
from fusefs.signatures.keys import check_signature, is_usable
from fusefs.values.printable import line_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.x509 import BasicConstraints, Certificate, KeyUsage
    from cryptography.x509.verification import Policy

    from fusefs.signatures.bundle import Bundle


def check_chain(bundle: Bundle, trusted: bytes) -> str:
    """Return when a bundle was signed with a certificate that leads to a trusted one, or is one.

    Args:
        bundle: signature, certificates, and what was signed.
        trusted: certificates, as PEM.

    Returns:
        Who signed: the name in the certificate, and its fingerprint.

    Raises:
        InvalidSetting: those are no certificates.
        InvalidSignature: the bundle has no such certificate, or was changed.
    """
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.hashes import SHA256

    roots = _certificates(trusted)
    if not bundle.chain:
        other = "a certificate of Sigstore's (--identity)" if bundle.keyless else "a key (--key)"
        raise InvalidSignature(f"it was signed with {other} and brings no chain of certificates")
    leaf, *others = map(_certificate, bundle.chain)
    _check_path(leaf, others, roots)
    _check_purpose(leaf)
    key = leaf.public_key()
    if not is_usable(key):
        raise InvalidSignature("the key of its certificate is of no curve by which models are signed")
    assert isinstance(key, EllipticCurvePublicKey)
    check_signature(bundle, key, "it was not made by the key of its certificate, or something in it was changed")
    return f"{_name(leaf)} (certificate sha256:{leaf.fingerprint(SHA256()).hex()})"


def _certificates(raw: bytes) -> list[Certificate]:
    from cryptography.x509 import load_pem_x509_certificates

    try:
        return load_pem_x509_certificates(raw)
    except ValueError as exc:
        raise InvalidSetting("it has no certificates, as PEM") from exc


def _certificate(raw: bytes) -> Certificate:
    from cryptography.x509 import load_der_x509_certificate

    try:
        found = load_der_x509_certificate(raw)
        # Each part is parsed when it is looked at, and no sooner.
        _, _, _ = found.public_key(), _name(found), found.extensions
    except Exception as exc:  # of what a stranger wrote they are of many kinds
        raise InvalidSignature(f"a certificate in it cannot be read: {line_of(str(exc))}") from exc
    return found


def _check_path(leaf: Certificate, others: Sequence[Certificate], roots: Sequence[Certificate]) -> None:
    """Return when `leaf` leads to one of `roots`, all of them valid now.

    Raises:
        InvalidSignature: it does not.
    """
    from cryptography.x509 import BasicConstraints, KeyUsage, UnsupportedGeneralNameType
    from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, Store, VerificationError

    if leaf in roots:  # which a person has named itself: nobody need vouch for it
        _check_time(leaf)
        return
    authority = (
        ExtensionPolicy.permit_all()
        .require_present(BasicConstraints, Criticality.AGNOSTIC, _is_authority)
        .may_be_present(KeyUsage, Criticality.AGNOSTIC, _signs_certificates)
    )
    rules = PolicyBuilder().extension_policies(ca_policy=authority, ee_policy=ExtensionPolicy.permit_all())
    try:
        rules.store(Store(list(roots))).build_client_verifier().verify(leaf, list(others))
    except (VerificationError, ValueError, UnsupportedGeneralNameType) as exc:
        _check_time(leaf)  # what is most often wrong, in plainer words
        why = line_of(str(exc))
        raise InvalidSignature(
            f"its certificate ({_name(leaf)}) does not lead to one of --certificate-chain: {why}"
        ) from exc


def _check_time(leaf: Certificate) -> None:
    import datetime as dt

    now = dt.datetime.now(dt.UTC)
    begin, end = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    if not begin <= now <= end:
        raise InvalidSignature(f"its certificate ({_name(leaf)}) is valid from {begin:%Y-%m-%d} to {end:%Y-%m-%d}")


def _is_authority(_policy: Policy, _certificate: Certificate, constraints: BasicConstraints | None) -> None:
    if constraints is None or not constraints.ca:
        raise ValueError("a certificate that may issue none has issued one")


def _signs_certificates(_policy: Policy, _certificate: Certificate, usage: KeyUsage | None) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("a certificate that may sign none has signed one")


def _check_purpose(leaf: Certificate) -> None:
    """As model_signing does: for digital signatures or for signing code, and for that where it says for what."""
    from cryptography.x509 import ExtendedKeyUsage, ExtensionNotFound, KeyUsage
    from cryptography.x509.oid import ExtendedKeyUsageOID

    may_sign = for_code = purposes = False
    with suppress(ExtensionNotFound):
        may_sign = leaf.extensions.get_extension_for_class(KeyUsage).value.digital_signature
    with suppress(ExtensionNotFound):
        found = leaf.extensions.get_extension_for_class(ExtendedKeyUsage).value
        purposes, for_code = True, ExtendedKeyUsageOID.CODE_SIGNING in found
    if not for_code and (purposes or not may_sign):
        raise InvalidSignature(f"its certificate ({_name(leaf)}) is not for signing")


def _name(certificate: Certificate) -> str:
    return line_of(certificate.subject.rfc4514_string(), 200) or "without a name"

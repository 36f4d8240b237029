"""Keys: a signature by an elliptic-curve key that a person has (OMS 1.0, section 4.1, `key`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusefs.errors import InvalidSetting, InvalidSignature
from fusefs.values.digest import Digest

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

    from fusefs.signatures.bundle import Bundle

_CURVES = ("secp256r1", "secp384r1", "secp521r1")


def check_key(bundle: Bundle, raw: bytes) -> str:
    """Return when a bundle was signed by a key.

    Args:
        bundle: signature and what it is of.
        raw: the public key, as PEM or DER.

    Returns:
        What to call the key: its fingerprint.

    Raises:
        InvalidSetting: it is no public key of a curve that OMS has.
        InvalidSignature: the bundle was signed by another one, or changed since.
    """
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = _key_of(raw)
    who = f"key {Digest.of(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))}"
    if bundle.chain or bundle.keyless:
        other = "a certificate of Sigstore's (--identity)" if bundle.keyless else "a certificate (--certificate-chain)"
        raise InvalidSignature(f"it was signed with {other} and not with a key alone")
    check_signature(bundle, key, f"it was not made by the {who}, or something in it was changed")
    return who


def check_signature(bundle: Bundle, key: EllipticCurvePublicKey, otherwise: str) -> None:
    """Return when the payload of a bundle was signed by a key; the hash goes with its curve.

    Raises:
        InvalidSignature: it was not; `otherwise` says so.
    """
    from cryptography.exceptions import InvalidSignature as NoMatch
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512

    algorithm = {256: SHA256(), 384: SHA384()}.get(key.curve.key_size, SHA512())
    try:
        key.verify(bundle.signature, bundle.signed_bytes, ECDSA(algorithm))
    except NoMatch as exc:
        raise InvalidSignature(otherwise) from exc


def is_usable(key: object) -> bool:
    """Whether it is a public key of a curve that OMS has."""
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

    return isinstance(key, EllipticCurvePublicKey) and key.curve.name in _CURVES


def _key_of(raw: bytes) -> EllipticCurvePublicKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key

    if b"PRIVATE KEY-----" in raw:
        raise InvalidSetting("it is a private key, which nobody but the signer should have; the public one is wanted")
    try:
        key = load_pem_public_key(raw) if b"-----BEGIN" in raw else load_der_public_key(raw)
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise InvalidSetting("it is no public key, as PEM or DER") from exc
    if not is_usable(key):
        raise InvalidSetting(f"models are signed by keys of the curves {', '.join(_CURVES)}, and it is none of them")
    assert isinstance(key, EllipticCurvePublicKey)
    return key

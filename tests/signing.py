"""Signatures of models as their publishers make them, by `model_signing`: with a key, or with a certificate."""

from __future__ import annotations

import base64
import datetime as dt
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_DAY = dt.timedelta(days=1)


@dataclass(frozen=True)
class KeyPair:
    """PEM files of a key."""

    private: Path
    public: Path


def make_keys(root: Path, name: str = "key", curve: ec.EllipticCurve | None = None) -> KeyPair:
    """A new key."""
    key = ec.generate_private_key(curve or ec.SECP256R1())
    found = KeyPair(root / f"{name}.pem", root / f"{name}.pub")
    found.private.write_bytes(_pem(key))
    found.public.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return found


def sign(folder: Path, signature: Path, keys: KeyPair, *, shard_size: int = 0, ignored: Sequence[Path] = ()) -> Path:
    """Sign all files of a folder, or shards of them; the signature may lie among them."""
    config = _config(folder, signature, shard_size, ignored)
    config.use_elliptic_key_signer(private_key=keys.private).sign(folder, signature)
    return signature


def sign_with_certificate(folder: Path, signature: Path, authority: Authority, leaf: Leaf) -> Path:
    """Sign with a certificate, and put that of the authority beside it."""
    config = _config(folder, signature, 0, ())
    config.use_certificate_signer(
        private_key=leaf.key, signing_certificate=leaf.certificate, certificate_chain=[authority.certificate]
    ).sign(folder, signature)
    return signature


def _config(folder: Path, signature: Path, shard_size: int, ignored: Sequence[Path]) -> Any:
    from model_signing import hashing, signing

    untyped: Any = hashing.Config, signing.Config
    how = untyped[0]().set_ignored_paths(paths=[signature, *ignored])
    if shard_size:
        how.use_shard_serialization(shard_size=shard_size)
    return untyped[1]().set_hashing_config(how)


def changed(signature: Path, change: Callable[[dict[str, Any]], object]) -> bytes:
    """A bundle with something else in it."""
    document = json.loads(signature.read_bytes())
    change(document)
    return json.dumps(document).encode()


def resigned(signature: Path, keys: KeyPair, change: Callable[[dict[str, Any]], object]) -> bytes:
    """A bundle whose statement says something else, signed by the same key: what a strange signer might write."""
    document = json.loads(signature.read_bytes())
    envelope = document["dsseEnvelope"]
    statement = json.loads(base64.b64decode(envelope["payload"]))
    change(statement)
    payload = json.dumps(statement).encode()
    kind = envelope["payloadType"].encode()
    key = serialization.load_pem_private_key(keys.private.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    raw = key.sign(b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload), ec.ECDSA(hashes.SHA256()))
    envelope["payload"] = base64.b64encode(payload).decode()
    envelope["signatures"][0]["sig"] = base64.b64encode(raw).decode()
    return json.dumps(document).encode()


@dataclass(frozen=True)
class Leaf:
    """A certificate with its key, PEM files."""

    certificate: Path
    key: Path


class Authority:
    """Issues certificates for signing.

    Attributes:
        certificate: its own, a PEM file.
    """

    def __init__(self, root: Path, name: str = "authority") -> None:
        self._root = root
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        self.certificate = root / f"{name}.pem"
        made = self._builder(self._name, self._key, (-_DAY, _DAY)).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        self._write(self.certificate, made)

    def issue(
        self,
        name: str = "signer",
        *,
        valid: tuple[dt.timedelta, dt.timedelta] = (-_DAY, _DAY),
        purpose: x509.ObjectIdentifier | None = ExtendedKeyUsageOID.CODE_SIGNING,
        signs: bool = True,
    ) -> Leaf:
        """A certificate of a signer, valid between two times from now on."""
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = Leaf(self._root / f"{name}.crt", self._root / f"{name}.key")
        usage = dict.fromkeys(
            ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign",
             "crl_sign", "encipher_only", "decipher_only"), False
        )  # fmt: skip
        made = self._builder(_name(name), key, valid)
        made = made.add_extension(x509.KeyUsage(digital_signature=signs, **usage), critical=True)
        if purpose is not None:
            made = made.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        self._write(leaf.certificate, made)
        leaf.key.write_bytes(_pem(key))
        return leaf

    def become(self, leaf: Leaf) -> None:
        """Issue with the key of a signer from now on, in its name, as if it were an authority."""
        key = serialization.load_pem_private_key(leaf.key.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self._key, self._name = key, x509.load_pem_x509_certificate(leaf.certificate.read_bytes()).subject

    @staticmethod
    def der(leaf: Leaf) -> str:
        """A certificate as a bundle has it."""
        found = x509.load_pem_x509_certificate(leaf.certificate.read_bytes())
        return base64.b64encode(found.public_bytes(serialization.Encoding.DER)).decode()

    def _builder(
        self, name: x509.Name, key: ec.EllipticCurvePrivateKey, valid: tuple[dt.timedelta, dt.timedelta]
    ) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + valid[0])
            .not_valid_after(now + valid[1])
        )

    def _write(self, path: Path, builder: x509.CertificateBuilder) -> None:
        path.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )

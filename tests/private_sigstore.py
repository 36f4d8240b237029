"""A Sigstore of our own, so that keyless signatures are made and verified without a network.

An authority (Fulcio), a log of certificates (RFC 6962) and a log of signatures (Rekor, of one entry), as the library of
Sigstore wants to see them; what they look like is its business, and it judges what is made here.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import struct
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

if TYPE_CHECKING:
    from pathlib import Path

_ISSUER = ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_SCTS = ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
_LOG = "rekor.test"
_SHA256_ECDSA = 4, 3
_USAGES = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
           "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")  # fmt: skip


class PrivateSigstore:
    """One instance."""

    def __init__(self) -> None:
        self._now = dt.datetime.now(dt.UTC).replace(microsecond=0)
        self._authority, self._certificates, self._log = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fulcio.test")])
        made = self._builder(self._name, self._authority, dt.timedelta(days=1))
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        made = made.add_extension(_usage("key_cert_sign"), critical=True)
        self._root = made.sign(self._authority, hashes.SHA256())

    def trusted_root(self, path: Path) -> Path:
        """What a person trusts of it, as a file."""
        since = {"start": "2020-01-01T00:00:00Z"}

        def log(key: ec.EllipticCurvePrivateKey, url: str) -> dict[str, Any]:
            raw = {"rawBytes": _b64(_spki(key)), "keyDetails": "PKIX_ECDSA_P256_SHA_256", "validFor": since}
            name = {"keyId": _b64(hashlib.sha256(_spki(key)).digest())}
            return {"baseUrl": url, "hashAlgorithm": "SHA2_256", "publicKey": raw, "logId": name}

        authority = {
            "subject": {"organization": "test", "commonName": "fulcio.test"},
            "uri": "https://fulcio.test",
            "certChain": {"certificates": [{"rawBytes": _b64(_der(self._root))}]},
            "validFor": since,
        }
        document = {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [log(self._log, "https://rekor.test")],
            "certificateAuthorities": [authority],
            "ctlogs": [log(self._certificates, "https://ct.test")],
            "timestampAuthorities": [],
        }
        path.write_text(json.dumps(document))
        return path

    def sign(self, bundle: bytes, identity: str, provider: str) -> bytes:
        """The same statement as in another bundle, signed by somebody whom a provider knows by his address."""
        document = json.loads(bundle)
        envelope = document["dsseEnvelope"]
        payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"].encode()
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._issue(key, identity, provider)
        raw = _signed(key, b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload))
        envelope["signatures"] = [{"sig": _b64(raw)}]
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        spec = {
            "envelopeHash": {"algorithm": "sha256", "value": hashlib.sha256(b"").hexdigest()},
            "payloadHash": {"algorithm": "sha256", "value": hashlib.sha256(payload).hexdigest()},
            "signatures": [{"signature": _b64(raw), "verifier": _b64(pem)}],
        }
        entry = self._entry({"apiVersion": "0.0.1", "kind": "dsse", "spec": spec})
        document["verificationMaterial"] = {
            "certificate": {"rawBytes": _b64(_der(certificate))},
            "tlogEntries": [entry],
        }
        return json.dumps(document).encode()

    def _entry(self, entry: dict[str, Any]) -> dict[str, Any]:
        """The one entry of the log: its proof is the root of a tree of one leaf."""
        body = _canonical(entry)
        name = hashlib.sha256(_spki(self._log)).digest()
        root = hashlib.sha256(b"\0" + body).digest()
        time = int(self._now.timestamp())
        promise = {"body": _b64(body), "integratedTime": time, "logID": name.hex(), "logIndex": 0}
        note = f"{_LOG}\n1\n{_b64(root)}\n"
        checkpoint = f"{note}\n\u2014 {_LOG} {_b64(name[:4] + _signed(self._log, note.encode()))}\n"
        return {
            "logIndex": "0",
            "logId": {"keyId": _b64(name)},
            "kindVersion": {"kind": "dsse", "version": "0.0.1"},
            "integratedTime": str(time),
            "inclusionPromise": {"signedEntryTimestamp": _b64(_signed(self._log, _canonical(promise)))},
            "inclusionProof": {
                "logIndex": "0",
                "rootHash": _b64(root),
                "treeSize": "1",
                "hashes": [],
                "checkpoint": {"envelope": checkpoint},
            },
            "canonicalizedBody": _b64(body),
        }

    def _issue(self, key: ec.EllipticCurvePrivateKey, identity: str, provider: str) -> x509.Certificate:
        """A certificate for ten minutes, which the log of certificates has seen."""
        made = (
            self._builder(x509.Name([]), key, dt.timedelta(minutes=10))
            .add_extension(x509.SubjectAlternativeName([x509.RFC822Name(identity)]), critical=True)
            .add_extension(_usage("digital_signature"), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
            .add_extension(x509.UnrecognizedExtension(_ISSUER, provider.encode()), critical=False)
        )
        tbs = made.sign(self._authority, hashes.SHA256()).tbs_certificate_bytes
        time = int(self._now.timestamp() * 1000)
        issuer = hashlib.sha256(_spki(self._authority)).digest()
        seen = struct.pack("!BBQH", 0, 0, time, 1) + issuer + len(tbs).to_bytes(3, "big") + tbs + b"\0\0"
        raw = _signed(self._certificates, seen)
        name = hashlib.sha256(_spki(self._certificates)).digest()
        one = b"\0" + name + struct.pack("!QHBBH", time, 0, *_SHA256_ECDSA, len(raw)) + raw
        many = struct.pack("!HH", len(one) + 2, len(one)) + one
        assert len(many) < 256
        octets = bytes([4, 0x81, len(many)]) if len(many) > 127 else bytes([4, len(many)])
        made = made.add_extension(x509.UnrecognizedExtension(_SCTS, octets + many), critical=False)
        return made.sign(self._authority, hashes.SHA256())

    def _builder(self, name: x509.Name, key: ec.EllipticCurvePrivateKey, life: dt.timedelta) -> x509.CertificateBuilder:
        own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        above = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._authority.public_key())
        return (
            x509.CertificateBuilder(serial_number=x509.random_serial_number())
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .not_valid_before(self._now - dt.timedelta(minutes=1))
            .not_valid_after(self._now + life)
            .add_extension(own, critical=False)
            .add_extension(above, critical=False)
        )


def _usage(one: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{name: name == one for name in _USAGES})


def _signed(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    return key.sign(data, ec.ECDSA(hashes.SHA256()))


def _spki(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def _canonical(document: dict[str, Any]) -> bytes:
    """As RFC 8785 has it, of ASCII text and small numbers."""
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()

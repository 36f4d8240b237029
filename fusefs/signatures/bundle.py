"""Bundle: a Sigstore bundle with a DSSE envelope.  What is in it is nobody's word until its signature is checked.

Sources: sigstore/protobuf-specs, `sigstore_bundle.proto` and `sigstore_common.proto`; DSSE v1.0, `protocol.md`;
OMS 1.0, section 4.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Self

import msgspec

from fusefs.errors import InvalidSignature

MAX_BUNDLE_SIZE = 64 << 20
"""Bytes; 65,536 files take 20 MB, and so do shards of 4 MiB of a model of 400 GB."""

_MAX_CERTIFICATES = 16
_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_OLDER = "application/vnd.dev.sigstore.bundle+json;version=0."
_IN_TOTO = "application/vnd.in-toto+json"


class _Signature(msgspec.Struct, frozen=True):
    sig: str


class _Envelope(msgspec.Struct, rename="camel", frozen=True):
    payload: str
    payload_type: str
    signatures: list[_Signature]


class _Certificate(msgspec.Struct, rename="camel", frozen=True):
    raw_bytes: str


class _Chain(msgspec.Struct, frozen=True):
    certificates: list[_Certificate]


class _Material(msgspec.Struct, rename="camel", frozen=True):
    certificate: _Certificate | None = None
    x509_certificate_chain: _Chain | None = None


class _Document(msgspec.Struct, rename="camel", frozen=True):
    media_type: str
    verification_material: _Material
    dsse_envelope: _Envelope


_decoder = msgspec.json.Decoder(_Document)


@dataclass(frozen=True, slots=True)
class Bundle:
    """What a bundle brings.

    Attributes:
        payload: what was signed, an in-toto statement as JSON.
        signature: of it.
        chain: certificates that came with it, DER, that of the signer first; none where a key signed, or Sigstore.
        keyless: it was signed with a certificate of Sigstore's, which lives for minutes.
    """

    payload: bytes
    signature: bytes
    chain: tuple[bytes, ...]
    keyless: bool

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Read a bundle.

        Raises:
            InvalidSignature: it is none, or of another kind.
        """
        if len(raw) > MAX_BUNDLE_SIZE:
            raise InvalidSignature(f"no signature of a model: more than {MAX_BUNDLE_SIZE} bytes")
        try:
            document = _decoder.decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
            raise InvalidSignature(f"no signature of a model, want a Sigstore bundle: {str(exc)[:200]}") from exc
        envelope, material = document.dsse_envelope, document.verification_material
        if document.media_type != _MEDIA_TYPE and not document.media_type.startswith(_OLDER):
            raise InvalidSignature(f"a bundle of the type {document.media_type[:80]!a}; {_MEDIA_TYPE} is wanted")
        if envelope.payload_type != _IN_TOTO:
            raise InvalidSignature(f"it signs {envelope.payload_type[:80]!a} and no in-toto statement")
        if len(envelope.signatures) != 1:
            raise InvalidSignature(f"it has {len(envelope.signatures)} signatures, and one is wanted")
        chain = material.x509_certificate_chain.certificates if material.x509_certificate_chain else []
        if len(chain) > _MAX_CERTIFICATES:
            raise InvalidSignature(f"it has {len(chain)} certificates, at most {_MAX_CERTIFICATES} are looked at")
        return cls(
            _bytes(envelope.payload),
            _bytes(envelope.signatures[0].sig),
            tuple(_bytes(one.raw_bytes) for one in chain),
            material.certificate is not None,
        )

    @property
    def signed_bytes(self) -> bytes:
        """What the signature is of: DSSE's pre-authentication encoding of the payload and its type."""
        return b"DSSEv1 %d %b %d %b" % (len(_IN_TOTO), _IN_TOTO.encode(), len(self.payload), self.payload)


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as exc:
        raise InvalidSignature("no signature of a model: what should be base64 is not") from exc

"""Signatures of models: bundles before anything in them was checked, and statements that somebody signed."""

from __future__ import annotations

import base64
import hashlib
import json

from fusefs.errors import InvalidSignature
from fusefs.signatures.bundle import Bundle
from fusefs.signatures.statement import parse_statement
from fusefs.values.digest import Digest
from fusefs.values.voucher import Proof, Voucher
from tests.fuzz.target import NUMBERS, Target

_WHO = Voucher(Proof.SIGNED, "somebody")
_OWN = Digest.of(b"")


def bundle(data: bytes) -> None:
    """What it brings, or an error of one line."""
    try:
        found = Bundle.parse(data)
    except InvalidSignature as exc:
        assert "\n" not in str(exc)
        return
    assert found.signed_bytes.endswith(found.payload)


def statement(data: bytes) -> None:
    """Files with digests of the whole or a list of all of it, or an error of one line."""
    try:
        found = parse_statement(data, _WHO, "model.sig", _OWN)
    except InvalidSignature as exc:
        assert "\n" not in str(exc)
        return
    assert found.files
    for file in found.files.values():
        if file.shards is None:
            assert file.digest is not None
            continue
        assert file.shards.complete
        assert sum(chunk.size for chunk in file.shards) == file.shards.size
        assert (file.digest is None) == (len(file.shards) > 1)
    assert not {"", "."}.intersection(found.ignored)


def _bundles() -> list[bytes]:
    document = {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"publicKey": {"hint": "ab"}, "x509CertificateChain": {"certificates": []}},
        "dsseEnvelope": {
            "payload": base64.b64encode(_statements()[0]).decode(),
            "payloadType": "application/vnd.in-toto+json",
            "signatures": [{"sig": "AAAA", "keyid": ""}],
        },
    }
    return [json.dumps(document).encode(), b"{}"]


def _statements() -> list[bytes]:
    def one(how: dict[str, object], *names: str) -> bytes:
        digests = [hashlib.sha256(name.encode()) for name in names]
        root = hashlib.sha256(b"".join(digest.digest() for digest in digests)).hexdigest()
        resources = [
            {"name": name, "algorithm": "sha256", "digest": digest.hexdigest()}
            for name, digest in zip(names, digests, strict=True)
        ]
        return json.dumps(
            {
                "_type": "https://in-toto.io/Statement/v1",
                "predicateType": "https://model_signing/signature/v1.0",
                "subject": [{"name": "m", "digest": {"sha256": root}}],
                "predicate": {"serialization": {"hash_type": "sha256", **how}, "resources": resources},
            }
        ).encode()

    shards = {"method": "shards", "shard_size": 8.0}
    return [
        one({"method": "files", "ignore_paths": ["model.sig", ".", "/x"]}, "a", "b/c"),
        one(shards, "a:0:8", "a:8:16", "a:16:17", "b:c:0:3"),
        one(shards, "a:0:8", "a:16:17"),
    ]


_WORDS = (b'"files"', b'"shards"', b'"shard_size":', b":0:8", b'"ignore_paths":[', b'"algorithm":', *NUMBERS)

TARGETS = (
    Target("signature-bundle", bundle, _bundles, (b'"rawBytes":"', b'"certificate":{', *NUMBERS)),
    Target("signature-statement", statement, _statements, _WORDS),
)

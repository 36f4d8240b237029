"""Signatures that `model_signing` makes are believed when they are by whom they should be, and nothing else is."""

from __future__ import annotations

import base64
import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID

from fusefs.errors import InvalidSetting, InvalidSignature
from fusefs.signatures.bundle import MAX_BUNDLE_SIZE
from fusefs.signatures.signertrust import Trust, verified
from fusefs.values.digest import Digest
from fusefs.values.voucher import Proof
from tests.marks import one_soon
from tests.private_sigstore import PrivateSigstore
from tests.signing import Authority, KeyPair, changed, make_keys, resigned, sign, sign_with_certificate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FILES = {"config.json": b"{}", "sub/weights.bin": b"0123456789" * 10}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model."""
    root = tmp_path_factory.mktemp("model")
    for path, data in FILES.items():
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_bytes(data)
    return root


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    """Those of its publisher."""
    return make_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def signature(tmp_path_factory: pytest.TempPathFactory, folder: Path, keys: KeyPair) -> Path:
    """Of all files."""
    return sign(folder, tmp_path_factory.mktemp("signature") / "model.sig", keys)


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory, folder: Path, keys: KeyPair) -> Path:
    """Of shards of 8 bytes, of which text order is not the order in the file."""
    return sign(folder, tmp_path_factory.mktemp("sharded") / "model.sig", keys, shard_size=8)


def test_p1_what_a_key_has_signed_says_each_file(signature: Path, keys: KeyPair) -> None:
    signed = verified(signature.read_bytes(), Trust(key=keys.public.read_bytes()), "model.sig")
    assert {path: file.digest for path, file in signed.files.items()} == {
        path: Digest.of(data) for path, data in FILES.items()
    }
    assert signed.voucher.proof == Proof.SIGNED
    assert str(signed.voucher).startswith("signed key sha256:")
    assert ".git" in signed.ignored
    assert signed.empty_too


def test_p1_shards_are_the_chunk_lists_of_their_files(sharded: Path, keys: KeyPair) -> None:
    signed = verified(sharded.read_bytes(), Trust(key=keys.public.read_bytes()), "model.sig")
    small, large = signed.files["config.json"], signed.files["sub/weights.bin"]
    assert small.digest == Digest.of(FILES["config.json"])
    assert large.digest is None
    assert large.shards is not None
    content = FILES["sub/weights.bin"]
    assert [(chunk.start, chunk.stop) for chunk in large.shards] == [(at, min(at + 8, 100)) for at in range(0, 100, 8)]
    for index, chunk in enumerate(large.shards):
        assert large.shards.digest(index) == Digest.of(content[chunk.start : chunk.stop])
    assert not signed.empty_too


@pytest.mark.parametrize("curve", one_soon([ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()]))
def test_each_curve_has_its_hash(tmp_path: Path, folder: Path, curve: ec.EllipticCurve) -> None:
    keys = make_keys(tmp_path, curve=curve)
    raw = sign(folder, tmp_path / "model.sig", keys).read_bytes()
    assert verified(raw, Trust(key=keys.public.read_bytes()), "").files.keys() == FILES.keys()


def test_a_key_may_be_der(signature: Path, keys: KeyPair) -> None:
    key = serialization.load_pem_public_key(keys.public.read_bytes())
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    by_der, by_pem = (verified(signature.read_bytes(), Trust(key=raw), "") for raw in (der, keys.public.read_bytes()))
    assert by_der.voucher == by_pem.voucher


def test_p1_another_key_and_a_changed_payload_are_refused(tmp_path: Path, signature: Path, keys: KeyPair) -> None:
    def forge(document: dict[str, Any]) -> None:
        document["dsseEnvelope"]["payload"] = document["dsseEnvelope"]["payload"][:-8] + "fX19fQo="

    other = make_keys(tmp_path, "other")
    trust = Trust(key=keys.public.read_bytes())
    for raw, believed in (
        (signature.read_bytes(), Trust(key=other.public.read_bytes())),
        (changed(signature, forge), trust),
    ):
        with pytest.raises(InvalidSignature, match=r"signature m: it was not made by the key sha256:.*was changed"):
            verified(raw, believed, "m")


BROKEN: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "media type": (lambda it: it.update(mediaType="text/plain"), "a bundle of the type 'text/plain'"),
    "envelope": (lambda it: it.pop("dsseEnvelope"), "no signature of a model, want a Sigstore bundle"),
    "payload type": (lambda it: it["dsseEnvelope"].update(payloadType="x"), "it signs 'x' and no in-toto statement"),
    "none": (lambda it: it["dsseEnvelope"].update(signatures=[]), "it has 0 signatures"),
    "two": (lambda it: it["dsseEnvelope"]["signatures"].append({"sig": ""}), "it has 2 signatures"),
    "base64": (lambda it: it["dsseEnvelope"].update(payload="%"), "base64"),
    "many": (
        lambda it: it["verificationMaterial"].update(x509CertificateChain={"certificates": [{"rawBytes": ""}] * 17}),
        "17 certificates",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_p10_what_is_no_bundle_is_refused_in_one_line(signature: Path, keys: KeyPair, what: str) -> None:
    change, said = BROKEN[what]
    with pytest.raises(InvalidSignature, match=said) as caught:
        verified(changed(signature, change), Trust(key=keys.public.read_bytes()), "m")
    assert "\n" not in str(caught.value)


def test_p10_rubbish_is_refused(keys: KeyPair) -> None:
    for raw in (b"", b"{", b"null", b"\xff", b"[" * 100_000, bytes(MAX_BUNDLE_SIZE + 1)):
        with pytest.raises(InvalidSignature, match="no signature of a model"):
            verified(raw, Trust(key=keys.public.read_bytes()), "m")


def _resources(statement: dict[str, Any]) -> list[dict[str, str]]:
    found: list[dict[str, str]] = statement["predicate"]["resources"]
    return found


STRANGE: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "kind": (lambda it: it.update(_type="x"), "no model by OMS 1.0"),
    "older": (lambda it: it.update(predicateType="https://model_signing/Digests/v0.1"), "sign the model again"),
    "no files": (lambda it: _resources(it).clear(), "its subject"),
    "subject": (lambda it: it["subject"][0]["digest"].update(sha256="0" * 64), "its subject"),
    "two subjects": (lambda it: it["subject"].append(it["subject"][0]), "its subject"),
    "hash": (lambda it: it["predicate"]["serialization"].update(hash_type="blake2b"), "only sha256 can be proved"),
    "hash of one": (lambda it: _resources(it)[0].update(algorithm="md5"), "'md5', and not by sha256"),
    "digest": (lambda it: _resources(it)[0].update(digest="00"), "invalid digest"),
    "method": (lambda it: it["predicate"]["serialization"].update(method="tensors"), "'tensors' is not known"),
    "serialization": (lambda it: it["predicate"].pop("serialization"), "no statement about a model"),
}


@pytest.mark.parametrize("what", STRANGE)
def test_p10_what_says_nothing_of_a_model_is_refused_in_one_line(signature: Path, keys: KeyPair, what: str) -> None:
    change, said = STRANGE[what]
    with pytest.raises(InvalidSignature, match=said) as caught:
        verified(resigned(signature, keys, change), Trust(key=keys.public.read_bytes()), "m")
    assert "\n" not in str(caught.value)


def _rename(old: str, new: str) -> Callable[[dict[str, Any]], object]:
    def change(statement: dict[str, Any]) -> None:
        (one,) = [resource for resource in _resources(statement) if resource["name"] == old]
        one["name"] = new

    return change


WRONG_SHARDS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "gap": (_rename("sub/weights.bin:8:16", "sub/weights.bin:808:816"), "is no shard of 8 bytes|a shard is missing"),
    "overlap": (_rename("sub/weights.bin:8:16", "sub/weights.bin:4:12"), "is no shard of 8 bytes"),
    "twice": (_rename("sub/weights.bin:8:16", "sub/weights.bin:0:8"), "stands in it twice"),
    "no range": (_rename("sub/weights.bin:8:16", "sub/weights.bin"), "is no shard of a file"),
    "backwards": (_rename("sub/weights.bin:8:16", "sub/weights.bin:16:8"), "is no shard of a file"),
    "number": (_rename("sub/weights.bin:8:16", f"sub/weights.bin:8:{'9' * 20}"), "is no shard of a file"),
    "size": (lambda it: it["predicate"]["serialization"].update(shard_size=0.5), "shards of 0.5 bytes"),
    "no size": (lambda it: it["predicate"]["serialization"].pop("shard_size"), "shards of None bytes"),
    "huge": (_rename("config.json:0:2", f"config.json:0:{2**62}"), "no shard of 8 bytes|no chunk list"),
}


@pytest.mark.parametrize("what", WRONG_SHARDS)
def test_p10_shards_that_are_no_list_are_refused(sharded: Path, keys: KeyPair, what: str) -> None:
    change, said = WRONG_SHARDS[what]
    with pytest.raises(InvalidSignature, match=said):
        verified(resigned(sharded, keys, change), Trust(key=keys.public.read_bytes()), "m")


def test_what_the_signer_has_left_out_is_known(tmp_path: Path, folder: Path, keys: KeyPair) -> None:
    raw = sign(folder, tmp_path / "model.sig", keys, ignored=[folder / "config.json"]).read_bytes()
    signed = verified(raw, Trust(key=keys.public.read_bytes()), "")
    assert "config.json" in signed.ignored
    assert "config.json" not in signed.files


def test_a_key_that_is_none_is_told(tmp_path: Path, signature: Path, keys: KeyPair) -> None:
    odd = ed25519.Ed25519PrivateKey.generate().public_key()
    pem = odd.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    for raw, said in ((b"x", "no public key"), (keys.private.read_bytes(), "private key"), (pem, "secp256r1")):
        with pytest.raises(InvalidSetting, match=said):
            verified(signature.read_bytes(), Trust(key=raw), "")


# Certificates


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Whom a person believes."""
    return Authority(tmp_path_factory.mktemp("authority"))


def test_p1_a_certificate_that_leads_to_a_trusted_one_counts(
    tmp_path: Path, folder: Path, authority: Authority
) -> None:
    raw = sign_with_certificate(folder, tmp_path / "model.sig", authority, authority.issue()).read_bytes()
    signed = verified(raw, Trust(chain=authority.certificate.read_bytes()), "m")
    assert signed.files.keys() == FILES.keys()
    assert str(signed.voucher).startswith("signed CN=signer (certificate sha256:")


def test_a_certificate_that_is_trusted_itself_counts(tmp_path: Path, folder: Path, authority: Authority) -> None:
    leaf = authority.issue()
    raw = sign_with_certificate(folder, tmp_path / "model.sig", authority, leaf).read_bytes()
    assert verified(raw, Trust(chain=leaf.certificate.read_bytes()), "m").files


def test_p1_other_certificates_are_refused(tmp_path: Path, folder: Path, authority: Authority) -> None:
    day = dt.timedelta(days=1)
    usages: dict[str, dict[str, Any]] = {
        "is valid from": {"valid": (-2 * day, -day)},
        "is valid from 2": {"valid": (day, 2 * day)},
        "is not for signing": {"purpose": ExtendedKeyUsageOID.SERVER_AUTH},
        "not for signing": {"purpose": None, "signs": False},
    }
    for number, (said, how) in enumerate(usages.items()):
        leaf = authority.issue(f"odd{number}", **how)
        raw = sign_with_certificate(folder, tmp_path / "odd.sig", authority, leaf).read_bytes()
        with pytest.raises(InvalidSignature, match=said) as caught:
            verified(raw, Trust(chain=authority.certificate.read_bytes()), "m")
        assert "\n" not in str(caught.value)
    raw = sign_with_certificate(folder, tmp_path / "model.sig", authority, authority.issue()).read_bytes()
    stranger = Authority(tmp_path, "stranger")
    with pytest.raises(InvalidSignature, match="does not lead to one of --certificate-chain"):
        verified(raw, Trust(chain=stranger.certificate.read_bytes()), "m")


def test_p1_who_is_no_authority_issues_nothing(tmp_path: Path, folder: Path, authority: Authority) -> None:
    """A signer's certificate in the bundle must not make another one count."""
    middle = authority.issue("middle")
    false = Authority(tmp_path, "false")
    false.become(middle)
    raw = sign_with_certificate(folder, tmp_path / "model.sig", authority, false.issue("leaf"))
    document = json.loads(raw.read_bytes())
    chain = document["verificationMaterial"]["x509CertificateChain"]["certificates"]
    chain.insert(1, {"rawBytes": false.der(middle)})
    with pytest.raises(InvalidSignature, match="does not lead to"):
        verified(json.dumps(document).encode(), Trust(chain=authority.certificate.read_bytes()), "m")


def test_a_changed_payload_under_a_certificate_is_refused(tmp_path: Path, folder: Path, authority: Authority) -> None:
    path = sign_with_certificate(folder, tmp_path / "model.sig", authority, authority.issue())

    def forge(document: dict[str, Any]) -> None:
        document["dsseEnvelope"]["payload"] = document["dsseEnvelope"]["payload"][:-8] + "fX19fQo="

    with pytest.raises(InvalidSignature, match="something in it was changed"):
        verified(changed(path, forge), Trust(chain=authority.certificate.read_bytes()), "m")


def test_each_kind_of_signature_is_told_from_the_others(
    tmp_path: Path, folder: Path, signature: Path, keys: KeyPair, authority: Authority
) -> None:
    by_certificate = sign_with_certificate(folder, tmp_path / "model.sig", authority, authority.issue()).read_bytes()
    with pytest.raises(InvalidSignature, match="signed with a certificate"):
        verified(by_certificate, Trust(key=keys.public.read_bytes()), "m")
    with pytest.raises(InvalidSignature, match="signed with a key"):
        verified(signature.read_bytes(), Trust(chain=authority.certificate.read_bytes()), "m")
    for raw in (by_certificate, signature.read_bytes()):
        with pytest.raises(InvalidSignature, match="not by Sigstore"):
            verified(raw, Trust(identity="a@example.org", provider="https://example.org"), "m")


def test_what_is_no_certificate_is_told(tmp_path: Path, folder: Path, authority: Authority) -> None:
    path = sign_with_certificate(folder, tmp_path / "model.sig", authority, authority.issue())
    with pytest.raises(InvalidSetting, match="no certificates"):
        verified(path.read_bytes(), Trust(chain=b"x"), "m")

    def spoil(document: dict[str, Any]) -> None:
        document["verificationMaterial"]["x509CertificateChain"]["certificates"][0]["rawBytes"] = "AAAA"

    with pytest.raises(InvalidSignature, match="cannot be read"):
        verified(changed(path, spoil), Trust(chain=authority.certificate.read_bytes()), "m")


def test_p10_a_damaged_certificate_is_refused_wherever_it_is_damaged(
    tmp_path: Path, folder: Path, authority: Authority
) -> None:
    path = sign_with_certificate(folder, tmp_path / "model.sig", authority, authority.issue())
    document = json.loads(path.read_bytes())
    (leaf, *_) = document["verificationMaterial"]["x509CertificateChain"]["certificates"]
    right, trust = base64.b64decode(leaf["rawBytes"]), Trust(chain=authority.certificate.read_bytes())
    damaged = [right[:at] + bytes([right[at] ^ 0x55]) + right[at + 1 :] for at in range(0, len(right), 3)]
    for raw in (*damaged, right[:-9], right + b"x", b""):
        leaf["rawBytes"] = base64.b64encode(raw).decode()
        with pytest.raises(InvalidSignature) as caught:
            verified(json.dumps(document).encode(), trust, "m")
        assert "\n" not in str(caught.value)


# Sigstore

WHO: dict[str, Any] = {"identity": "publisher@example.org", "provider": "https://accounts.example.org"}


def test_p1_an_identity_that_sigstore_knew_counts_without_a_network(tmp_path: Path, signature: Path) -> None:
    sigstore = PrivateSigstore()
    root = sigstore.trusted_root(tmp_path / "root.json")
    raw = sigstore.sign(signature.read_bytes(), WHO["identity"], WHO["provider"])
    trusted = str(root), root.read_bytes()
    signed = verified(raw, Trust(**WHO, root=trusted), "m")
    assert str(signed.voucher) == "signed publisher@example.org (https://accounts.example.org)"
    assert signed.files.keys() == FILES.keys()

    def forge(document: dict[str, Any]) -> None:
        document["dsseEnvelope"]["payload"] = document["dsseEnvelope"]["payload"][:-8] + "fX19fQo="

    def silence(document: dict[str, Any]) -> None:
        document["verificationMaterial"]["tlogEntries"] = []

    (tmp_path / "m").write_bytes(raw)
    other = PrivateSigstore().trusted_root(tmp_path / "other.json")
    for document, trust in (
        (raw, Trust(identity="somebody@example.org", provider=WHO["provider"], root=trusted)),
        (raw, Trust(identity=WHO["identity"], provider="https://example.org", root=trusted)),
        (raw, Trust(**WHO, root=(str(other), other.read_bytes()))),
        (changed(tmp_path / "m", forge), Trust(**WHO, root=trusted)),
        (changed(tmp_path / "m", silence), Trust(**WHO, root=trusted)),
    ):
        with pytest.raises(InvalidSignature, match="Sigstore does not show that") as caught:
            verified(document, trust, "m")
        assert "\n" not in str(caught.value)


def test_a_trust_configuration_has_a_trusted_root(tmp_path: Path, signature: Path) -> None:
    sigstore = PrivateSigstore()
    root = json.loads(sigstore.trusted_root(tmp_path / "root.json").read_bytes())
    config = {
        "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
        "trustedRoot": root,
        "signingConfig": {
            "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
            "caUrls": [],
            "oidcUrls": [],
            "rekorTlogUrls": [],
            "rekorTlogConfig": {"selector": "ANY"},
            "tsaUrls": [],
            "tsaConfig": {"selector": "ANY"},
        },
    }
    raw = sigstore.sign(signature.read_bytes(), WHO["identity"], WHO["provider"])
    assert verified(raw, Trust(**WHO, root=("", json.dumps(config).encode())), "m").files
    for rubbish in (b"x", b"{}", b"[]"):
        (tmp_path / "rubbish").write_bytes(rubbish)
        with pytest.raises(InvalidSetting, match="no trusted root"):
            verified(raw, Trust(**WHO, root=(str(tmp_path / "rubbish"), rubbish)), "m")


def test_p1_the_public_sigstore_does_not_know_a_private_one(
    tmp_path: Path, signature: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a root of its own the public one counts, which the library brings along."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("CACHE", "DATA"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name))
    raw = PrivateSigstore().sign(signature.read_bytes(), WHO["identity"], WHO["provider"])
    with pytest.raises(InvalidSignature, match="Sigstore does not show that"):
        verified(raw, Trust(**WHO), "m")

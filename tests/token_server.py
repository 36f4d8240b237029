"""TokenServer: the token service of a registry, as distribution's `token.md` and `oauth.md` have it.

    with TokenServer(tmp_path, users={"user": "hidden"}, public={"public/m"}) as service:
        with docker_registry(tmp_path / "registry", auth=service.auth) as address: …
        service.requests        # (method, who asks, scope), in order
        service.identity        # an identity token: POST gives tokens for it

Who gives no name may pull what is `public`; a user may do everything.  Tokens are JWTs of ES256 that docker-registry
checks by the certificate in `service.auth`.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import secrets
import time
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from tests.loopback_server import LoopbackServer

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from http.server import BaseHTTPRequestHandler
    from pathlib import Path

_ISSUER, _SERVICE = "fusefs test issuer", "fusefs test registry"


class TokenServer:
    """See the module's text."""

    def __init__(self, root: Path, *, users: Mapping[str, str], public: Collection[str] = (), life: int = 300) -> None:
        self._users = users
        self._public = public
        self._life = life
        self.identity = secrets.token_hex(16)
        self.requests: list[tuple[str, str, str]] = []
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = _certificate(self._key)
        bundle = root / "token-service.pem"
        bundle.write_bytes(self._certificate.public_bytes(Encoding.PEM))
        self._server = LoopbackServer(self._handle)
        self.host = f"127.0.0.1:{self._server.port}"
        self.auth = {
            "token": {
                "realm": f"http://{self.host}/token",
                "service": _SERVICE,
                "issuer": _ISSUER,
                "rootcertbundle": str(bundle),
            }
        }

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()
        assert self._server.problems == []

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        url = urlsplit(handler.path)
        if handler.command == "POST":
            fields = parse_qs(getattr(handler, "body", b"").decode())
            known = fields.get("refresh_token") == [self.identity] and fields.get("grant_type") == ["refresh_token"]
            user = "identity" if known else None
        else:
            fields = parse_qs(url.query)
            user = self._user(handler.headers.get("Authorization", ""))
        scopes = " ".join(fields.get("scope", [])).split()
        self.requests.append((handler.command, user if user is not None else "refused", " ".join(scopes)))
        if user is None or url.path != "/token" or fields.get("service") != [_SERVICE]:
            return _send(handler, 401, {"errors": [{"code": "UNAUTHORIZED", "message": "who are you?"}]})
        token = self._token(user, [self._access(user, *scope.split(":")) for scope in scopes])
        field = "access_token" if handler.command == "POST" else "token"
        return _send(handler, 200, {field: token, "expires_in": self._life})

    def _user(self, given: str) -> str | None:
        """Who asks; an empty text for nobody; None for a wrong password."""
        if not given:
            return ""
        user, _, password = base64.b64decode(given.removeprefix("Basic ")).decode().partition(":")
        return user if self._users.get(user) == password else None

    def _access(self, user: str, kind: str, repository: str, actions: str) -> dict[str, Any]:
        granted = actions.split(",") if user else ["pull"] if repository in self._public else []
        return {"type": kind, "name": repository, "actions": granted}

    def _token(self, user: str, access: list[dict[str, Any]]) -> str:
        now = int(time.time())
        certificate = base64.b64encode(self._certificate.public_bytes(Encoding.DER)).decode()
        claims = {
            "iss": _ISSUER,
            "aud": _SERVICE,
            "sub": user,
            "jti": secrets.token_hex(8),
            "iat": now,
            "nbf": now - 10,
            "exp": now + self._life,
            "access": access,
        }
        signed = f"{_part({'typ': 'JWT', 'alg': 'ES256', 'x5c': [certificate]})}.{_part(claims)}"
        r, s = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_text(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def _certificate(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fusefs test token service")])
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )


def _part(document: Mapping[str, Any]) -> str:
    return _text(json.dumps(document).encode())


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _send(handler: BaseHTTPRequestHandler, status: int, document: Mapping[str, Any]) -> None:
    body = json.dumps(document).encode()
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)

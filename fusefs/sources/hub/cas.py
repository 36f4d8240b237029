"""Cas: what is asked of the content servers (CAS) of Xet, and of the hosts to which these send us on.

Three questions: how a range of a file is put together (`plan`), what proves a window of it (`proof`), and the bytes of
a range of a xorb (`open`), for which the answer to the first one has a signed URL.  Nothing is believed here.
Source: Xet Protocol Specification 1.1, api.md.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusefs.errors import InvalidXet, NoEvidence, SourceError, WrongResponse
from fusefs.net.url import Url
from fusefs.sources.hub.huberrors import CONTENT_SERVER, STORAGE
from fusefs.sources.rangebody import RangeBody
from fusefs.sources.registry.responses import check_encoding, check_status
from fusefs.values.chunks import Chunk
from fusefs.xet.reconstruction import MAX_RECONSTRUCTION, Reconstruction
from fusefs.xet.windowproof import MAX_PROOF, WindowProof
from fusefs.xet.xethash import hash_text

if TYPE_CHECKING:
    from fusefs.net.origin import WebOrigin
    from fusefs.net.transport import Response, Transport
    from fusefs.sources.hub.castokens import CasTokens
    from fusefs.sources.hub.xetfile import XetFile
    from fusefs.values.hubname import HubName
    from fusefs.xet.reconstruction import XorbRange

_REFUSED = (401, 403)
_NOT_OFFERED = (400, 404, 405, 501)
"""What a server without an endpoint says, or one that does not give it to who may only read."""

_NO_PROOFS = (*_NOT_OFFERED, 403, 410)
"""403 also with a new token: proofs were made for who writes."""

_PROOFS_KEPT = 16
"""Of a few dozen KB each: the one that was asked for to see whether there are any is that of a file's header."""

_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(?:\d{1,19}|\*)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Plan:
    """How a range of a file is put together.

    Attributes:
        reconstruction: what to ask for.
        origin: who says so.
        public: whether that is at a public address.
    """

    reconstruction: Reconstruction
    origin: WebOrigin
    public: bool


class Cas:
    """The content servers of one Hub.  Blocking; for any thread.

    Every method raises SourceError, or Cancelled when the transport was closed.

    Attributes:
        label: what to call them in messages.
    """

    def __init__(self, transport: Transport, tokens: CasTokens, label: str) -> None:
        self.label = label
        self._transport = transport
        self._tokens = tokens
        self._old: set[HubName] = set()
        self._proofs: OrderedDict[tuple[bytes, Chunk], WindowProof] = OrderedDict()
        self._lock = threading.Lock()

    def plan(self, file: XetFile, part: Chunk) -> Plan:
        """How the bytes `part` of a file are put together.

        Raises:
            NotFound: the store has no such file.
        """
        version = "v1" if file.name in self._old else "v2"
        response = self._reconstruction(version, file, part)
        if response.status in _NOT_OFFERED and version == "v2":
            response.discard()
            response = self._reconstruction("v1", file, part)
            if response.status == 200:
                with self._lock:
                    self._old.add(file.name)
        raw = _document(response, MAX_RECONSTRUCTION)
        try:
            return Plan(Reconstruction.parse(raw, part.size), response.url.origin, response.public)
        except InvalidXet as exc:
            raise WrongResponse(str(exc), source=response.source) from exc

    def proof(self, file: XetFile, part: Chunk) -> WindowProof:
        """What proves a window with the bytes `part` of a file.

        Raises:
            NoEvidence: the server gives no proofs, or none that can be read.
        """
        key = file.hash, part
        with self._lock:
            proof = self._proofs.get(key)
        if proof is None:
            proof = self._ask_for_proof(file, part)
            with self._lock:
                self._proofs[key] = proof
                while len(self._proofs) > _PROOFS_KEPT:
                    self._proofs.popitem(last=False)
        return proof

    def disbelieve(self, file: XetFile) -> None:
        """Bytes and proof did not belong together: next time the proof is asked for, too."""
        with self._lock:
            for key in [key for key in self._proofs if key[0] == file.hash]:
                del self._proofs[key]

    def open(self, plan: Plan, fetch: XorbRange) -> RangeBody:
        """Begin to read a range of a xorb.

        Raises:
            Unauthorized: its URL has ended, or is for other bytes.
        """
        url = Url.parse(fetch.url)
        if not plan.origin.allows(url.origin):
            raise SourceError(f"its bytes are in plain http at {url.origin}: refused", source=str(plan.origin))
        part = fetch.part
        # The signature is for exactly these bytes.
        response = self._transport.get(url, {"Range": f"bytes={part.start}-{part.end}"}, sent=plan.public)
        try:
            check_status(response, wanted=(200, 206), who=STORAGE)
            return RangeBody(response, _sent(response, part), part)
        except BaseException:
            response.close()
            raise

    def refresh(self) -> None:
        """Forget tokens, and what the servers cannot do."""
        self._tokens.forget()
        with self._lock:
            self._old.clear()
            self._proofs.clear()

    def _reconstruction(self, version: str, file: XetFile, part: Chunk) -> Response:
        path = f"{version}/reconstructions/{hash_text(file.hash)}"
        return self._get(file, path, {"Range": f"bytes={part.start}-{part.end}"})

    def _ask_for_proof(self, file: XetFile, part: Chunk) -> WindowProof:
        path = f"v2/file-chunk-hashes/{hash_text(file.hash)}"
        invalid: InvalidXet | None = None
        for _ in range(2):  # damaged on its way, or in a form that is not known here: that comes again
            response = self._get(file, path, {"X-Range-Dirty": f"bytes={part.start}-{part.end}"})
            if response.status in _NO_PROOFS:
                response.discard()
                raise NoEvidence(f"gives no proofs (status {response.status})", source=response.source)
            raw = _document(response, MAX_PROOF)
            try:
                return WindowProof.parse(raw, file.size, part)
            except InvalidXet as exc:
                invalid = exc
        raise NoEvidence(f"gives proofs that cannot be read: {invalid}", source=response.source) from invalid

    def _get(self, file: XetFile, path: str, headers: dict[str, str]) -> Response:
        for last in (False, True):
            access = self._tokens.get(file.name)
            at = Url.parse(f"{str(access.url).rstrip('/')}/{path}")
            response = self._transport.get(at, headers, authorization=access.secret, sent=access.sent)
            if response.status not in _REFUSED or last:
                return response
            response.discard()
            self._tokens.drop(file.name, access)
        raise AssertionError("the second answer returns")


def _document(response: Response, limit: int) -> bytes:
    """A small answer whole.

    Raises:
        SourceError: its status is none of an answer.
    """
    try:
        check_status(response, wanted=(200, 206), who=CONTENT_SERVER)
        check_encoding(response)
        return response.read(limit + 1)
    finally:
        response.discard()


def _sent(response: Response, part: Chunk) -> Chunk:
    """Which bytes of a xorb an answer has: all of them where the server ignores Range.

    Raises:
        WrongResponse: not those that were asked for.
    """
    length = response.headers.get("Content-Length", "").strip()
    header = response.headers.get("Content-Range", "").strip()
    size = int(length) if length.isascii() and length.isdecimal() and len(length) < 20 else None
    match = _CONTENT_RANGE.fullmatch(header)
    if response.status == 206 and match is not None:
        if (int(match[1]), int(match[2])) == (part.start, part.end) and size in (None, part.size):
            return part
    elif response.status == 200 and size is not None and size >= part.stop:
        return Chunk(0, size - 1)
    got = f"a Content-Range of {header[:60]!r}" if response.status == 206 else f"status {response.status}"
    text = f"asked for bytes {part} of a xorb, got {got} with {length[:20] or '?'} bytes"
    raise WrongResponse(text, source=response.source)

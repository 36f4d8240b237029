"""One tree of errors; the name says what went wrong, the fields carry the facts.

Nothing here knows an errno: `fusefs.fuse.errnos` holds the one table.  Whether trying again may help is decided
where an error is born (`temporary`), and one place retries (`fusefs.sources.retry`).
"""

from __future__ import annotations


class FusefsError(Exception):
    """Everything fusefs raises on purpose.  `str()` is one line for a person.

    Attributes:
        temporary: True when the same request may well succeed a little later.
    """

    temporary: bool = False


class InvalidInput(FusefsError):
    """Text from a person, a file or the network does not have the form that it must have."""


class InvalidDigest(InvalidInput):
    """Not `sha256:` or `sha256-` followed by 64 hexadecimal digits."""


class InvalidName(InvalidInput):
    """Not a model name in Ollama's grammar."""


class InvalidChunk(InvalidInput):
    """Not an inclusive byte range `start-end`."""


class InvalidChunkList(InvalidInput):
    """A chunk list with a gap, an overlap, a wrong end or too many chunks."""


class ChunkListTooFine(InvalidChunkList):
    """A chunk list of so many small chunks that they cost more than the blob: it counts as none."""


class ListMemoryFull(FusefsError):
    """The chunk lists of this process take all the memory that they may."""

    temporary = True


class InvalidManifest(InvalidInput):
    """Not a manifest, or one that asks for something that no honest manifest asks for."""


class Masked(InvalidManifest):
    """A listing of the Hub without hashes: the repository is gated, and who asks may not see them."""


class InvalidHeader(InvalidInput):
    """The start of a file is no header of a known model format, or one that no honest writer writes."""


class InvalidTar(InvalidInput):
    """A tar archive that is damaged, or one that no honest writer writes."""


class InvalidPacking(InvalidInput):
    """A compressed layer that is damaged, or that grows to more than any honest one does."""


class InvalidXet(InvalidInput):
    """A hash, a xorb, a reconstruction or a proof of Xet that is damaged, or that no honest server sends."""


class InvalidTrace(InvalidInput):
    """An access trace that is torn, rotten, of another blob, or longer than any that is kept."""


class InvalidSetting(InvalidInput):
    """A size, a time or an option that cannot be used."""


class InvalidSignature(InvalidInput):
    """A signature of a model that is none, is not by whom it should be, or says nothing that can be proved."""


class SourceError(FusefsError):
    """A source could not give what it was asked for.

    Attributes:
        source: where the answer came from, for a person (a host or a directory); never holds credentials.
    """

    def __init__(self, message: str, *, source: str = "", temporary: bool | None = None) -> None:
        super().__init__(f"{source}: {message}" if source else message)
        self.source = source
        if temporary is not None:
            self.temporary = temporary


class NotFound(SourceError):
    """The source knows no such model, manifest or blob.

    Attributes:
        code: what a registry calls that (`BLOB_UNKNOWN`); empty where no registry has answered as one does.
    """

    def __init__(self, message: str, *, source: str = "", temporary: bool | None = None, code: str = "") -> None:
        super().__init__(message, source=source, temporary=temporary)
        self.code = code


class ModelNotFound(NotFound):
    """The registry says MANIFEST_UNKNOWN, or 404 to a manifest."""


class Unauthorized(SourceError):
    """The source wants credentials that we do not have, or refuses those that we have."""


class ResponseError(SourceError):
    """The registry answered with an error status.

    Attributes:
        status: the HTTP status.
        retry_after: seconds the server asks us to wait, when it says so.
    """

    def __init__(
        self,
        message: str,
        *,
        source: str,
        status: int,
        retry_after: float | None = None,
        temporary: bool | None = None,
    ) -> None:
        super().__init__(message, source=source, temporary=temporary)
        self.status = status
        self.retry_after = retry_after


class WrongResponse(SourceError):
    """The answer's frame is wrong: status, Content-Range, length, or a body that is not what was asked for."""

    temporary = True


class SourceChanged(SourceError):
    """A file was replaced on its server while it was being read: what comes does not belong to what came."""


class RangeIgnored(WrongResponse):
    """All of a blob came where a part of it was wanted; whoever can take all of it asks again."""


class StreamTaken(WrongResponse):
    """All of a blob came where a part of it was wanted, and another request takes all of it already."""


class TransportError(SourceError):
    """The connection failed: refused, reset, name not resolved, cut short."""

    temporary = True


class NoEvidence(SourceError):
    """A source has the bytes of a chunk whose digest is not known yet, and nothing that proves them."""


class TlsError(SourceError):
    """The certificate does not match or the handshake failed; trying again will not help."""


class StallTimeout(TransportError):
    """No byte came for the stall time, or the whole request did not end within its deadline."""


class HostResting(TransportError):
    """Nothing was sent: the host failed again and again, or asked to be left alone for a while.

    Attributes:
        retry_after: seconds until it is worth asking again.
        asked: the host itself named the time.
    """

    def __init__(self, message: str, *, source: str, retry_after: float, asked: bool) -> None:
        super().__init__(message, source=source)
        self.retry_after = retry_after
        self.asked = asked


class PrivateAddress(SourceError):
    """A public host sent us on to a private address, which only who sits inside should be able to reach."""


class Cancelled(FusefsError):
    """The work was told to stop (unmount, or nobody wants it any more)."""


class Forsaken(FusefsError):
    """Every reader of a chunk was killed before it came, and nobody else wants it: no program sees this."""


class IntegrityError(FusefsError):
    """Bytes are not what their digest says."""


class DigestMismatch(IntegrityError):
    """Bytes of the right length whose sha256 is another.

    Attributes:
        expected: the digest that was promised, as text.
        actual: the digest of what came, as text.
    """

    def __init__(self, what: str, *, expected: object, actual: object) -> None:
        super().__init__(f"{what}: content does not match its digest: expected {expected}, got {actual}")
        self.expected = str(expected)
        self.actual = str(actual)


class SizeMismatch(IntegrityError):
    """More bytes than announced."""


class UnexpectedEnd(IntegrityError):
    """Fewer bytes than announced."""


class NotSigned(IntegrityError):
    """A model is another one than the signature says; what it is made of may be right by its manifest."""


class BlobQuarantined(IntegrityError):
    """Every chunk matched its list, but the whole blob did not match its digest: the list lied."""


class BlobUnproved(FusefsError):
    """The blob has no chunk list, and `--unproved=refuse` was asked for."""


class ReadTimeout(FusefsError):
    """A read had no progress for `--timeout` seconds."""


class CacheError(FusefsError):
    """The cache directory cannot be used as one."""


class CacheFull(CacheError):
    """The cache cannot take more bytes now: no space, quota, or a read-only disk (P8: not an error for a reader)."""


class ChunkGone(CacheError):
    """A chunk that was there a moment ago is not any more: look again, and fetch it again."""


class Superseded(CacheError):
    """Another process has put other files, or another list, in the place of what is open here: open the blob anew."""


class NotCached(CacheError):
    """The cache has no such blob or link."""


class NoSuchEntry(FusefsError):
    """No file or folder of that name in the mount."""


class NotAFolder(FusefsError):
    """A folder was needed."""


class IsAFolder(FusefsError):
    """A file was needed."""


class NotALink(FusefsError):
    """A symbolic link was needed."""


class NoSuchAttribute(FusefsError):
    """The file has no extended attribute of that name."""


class NoSuchNamespace(NoSuchAttribute):
    """Extended attributes of that kind (`security.`, `system.`) are not kept here, of no file."""


class ReadOnly(FusefsError):
    """The file system is read-only."""


class MountError(FusefsError):
    """The mount could not be made, reached or ended."""


class ServeError(FusefsError):
    """A directory cannot be served, or a file in it cannot be read as it was when its digest was computed."""


class MissingExtra(FusefsError):
    """A part of fusefs that not everybody installs is not installed."""

    def __init__(self, what: str, extra: str, module: str) -> None:
        super().__init__(f"{what} needs {module}, which is not installed; run: pip install 'fusefs[{extra}]'")

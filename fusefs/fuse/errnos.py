"""The one table from errors to errnos.

A read gives bytes or EIO (P6), whatever went wrong below: EINVAL would blame the reader's arguments for what a
registry sent, ENOENT on an open file makes programs believe that it was deleted and carry on, ETIMEDOUT and ENOSPC are
unknown to the callers of read(2).  The two exceptions are explained in the table.
"""

from __future__ import annotations

import errno

from fusefs import errors

ERRNOS: dict[type[errors.FusefsError], int] = {
    errors.FusefsError: errno.EIO,
    errors.InvalidInput: errno.EIO,
    errors.InvalidDigest: errno.EIO,
    errors.InvalidName: errno.EIO,
    errors.InvalidChunk: errno.EIO,
    errors.InvalidChunkList: errno.EIO,
    errors.ChunkListTooFine: errno.EIO,
    errors.ListMemoryFull: errno.EIO,
    errors.InvalidManifest: errno.EIO,
    errors.Masked: errno.EACCES,
    errors.InvalidHeader: errno.EIO,
    errors.InvalidTar: errno.EIO,
    errors.InvalidPacking: errno.EIO,
    errors.InvalidXet: errno.EIO,
    errors.InvalidTrace: errno.EIO,
    errors.InvalidSetting: errno.EIO,
    errors.InvalidSignature: errno.EIO,
    errors.SourceError: errno.EIO,
    errors.NotFound: errno.EIO,
    errors.ModelNotFound: errno.EIO,
    # As NFS does: "Permission denied" sends a person to the credentials, "Input/output error" to the disk.
    errors.Unauthorized: errno.EACCES,
    errors.ResponseError: errno.EIO,
    errors.WrongResponse: errno.EIO,
    errors.SourceChanged: errno.EIO,
    errors.RangeIgnored: errno.EIO,
    errors.StreamTaken: errno.EIO,
    errors.TransportError: errno.EIO,
    errors.NoEvidence: errno.EIO,
    errors.TlsError: errno.EIO,
    errors.StallTimeout: errno.EIO,
    errors.HostResting: errno.EIO,
    errors.PrivateAddress: errno.EIO,
    # What the kernel itself answers to reads that are in flight when a mount ends.
    errors.Cancelled: errno.ECONNABORTED,
    errors.Forsaken: errno.EIO,
    errors.IntegrityError: errno.EIO,
    errors.DigestMismatch: errno.EIO,
    errors.SizeMismatch: errno.EIO,
    errors.UnexpectedEnd: errno.EIO,
    errors.NotSigned: errno.EIO,
    errors.BlobQuarantined: errno.EIO,
    errors.BlobUnproved: errno.EIO,
    errors.ReadTimeout: errno.EIO,
    errors.CacheError: errno.EIO,
    errors.CacheFull: errno.EIO,
    errors.NotCached: errno.EIO,
    errors.ChunkGone: errno.EIO,
    errors.Superseded: errno.EIO,
    errors.NoSuchEntry: errno.ENOENT,
    errors.NotAFolder: errno.ENOTDIR,
    errors.IsAFolder: errno.EISDIR,
    errors.NotALink: errno.EINVAL,
    errors.NoSuchAttribute: errno.ENODATA,
    # Said of a whole namespace: told that just this file has none, `ls -l` asks twice for each file.
    errors.NoSuchNamespace: errno.ENOTSUP,
    errors.ReadOnly: errno.EROFS,
    errors.MountError: errno.EIO,
    errors.ServeError: errno.EIO,
    errors.MissingExtra: errno.EIO,
}


def errno_of(exc: errors.FusefsError) -> int:
    """The errno for `exc`: that of the nearest class of its mro in the table."""
    return next(ERRNOS[kind] for kind in type(exc).__mro__ if kind in ERRNOS)

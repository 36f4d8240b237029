"""The codes of errors that servers of buckets send, and what a person can do about them.

Sources: Amazon S3, "Error responses"; Google Cloud Storage, "HTTP status and error codes for XML"; Azure Storage,
"Common REST API error codes", "Blob Storage error codes".
"""

from __future__ import annotations

import re

_CODE = re.compile(r"<Code>([A-Za-z]{3,60})</Code>")
_REGION = re.compile(r"<Region>([a-z0-9-]{3,30})</Region>")

NO_BUCKET = frozenset(("NoSuchBucket", "ContainerNotFound", "InvalidBucketName"))

_EXPIRED = "the credentials have expired: get new ones"
_CLOCK = "the clock of this machine is wrong: set it"
_KEY = "the server does not know this key: look at the credentials, and at whose endpoint it is"
_SECRET = "the secret does not belong to the key"  # noqa: S105 # about one
_DENIED = "these credentials may not read it, or it is not there and they may not list the bucket"
_ELSEWHERE = "the bucket is in another region: set AWS_REGION to its own"

REMEDIES = {
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "InvalidToken": "the session token does not belong to the key: get new credentials",
    "RequestTimeTooSkewed": _CLOCK,
    "RequestExpired": _CLOCK,
    "InvalidAccessKeyId": _KEY,
    "SignatureDoesNotMatch": _SECRET,
    "AccessDenied": _DENIED,
    "AuthorizationHeaderMalformed": _ELSEWHERE,
    "PermanentRedirect": _ELSEWHERE,
    "TemporaryRedirect": _ELSEWHERE,
    "AllAccessDisabled": "the bucket was closed by its owner",
    "AuthenticationFailed": "the key or the token is wrong or has expired, or the clock of this machine is wrong",
    "AuthorizationPermissionMismatch": _DENIED,
    "AuthorizationFailure": _DENIED,
    "NoAuthenticationInformation": "it is not public: name credentials",
    "PublicAccessNotPermitted": "it is not public: name credentials",
    "AccountIsDisabled": "the account is disabled",
}

_REDIRECTED = "incorrectly configured region"
"""In the words of obstore's library of a redirect of S3's, which it does not follow."""


def code_of(text: str) -> str:
    """The code in an error document, whatever stands around it; empty where there is none."""
    found = _CODE.search(text)
    if found is None:
        return "PermanentRedirect" if _REDIRECTED in text else ""
    return found[1]


def remedy_of(text: str) -> str:
    """What the code in an error document means, for who reads one line; empty where it has none."""
    code = code_of(text)
    region = _REGION.search(text)
    if code in REMEDIES and REMEDIES[code] == _ELSEWHERE and region is not None:
        return f"{code}: the bucket is in another region: set AWS_REGION={region[1]}"
    return f"{code}: {REMEDIES[code]}" if code in REMEDIES else code

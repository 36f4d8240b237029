"""How a bucket is opened: endpoint, region and credentials, as the SDKs read them in the environment.

obstore reads the variables itself; AWS profiles, those of SSO among them, are boto3's to read.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, S3Store

from fusefs import __version__
from fusefs.errors import MissingExtra, SourceError

if TYPE_CHECKING:
    from fusefs.values.settings import Settings

logging.getLogger("botocore").setLevel(logging.WARNING)  # it tells of each credential that it has found

_OWN_WAY = ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_SKIP_SIGNATURE")
"""With one of these obstore needs no profile; nor with what a container's task is given, `AWS_CONTAINER_…`."""

_LONGEST = 300

_EMULATOR = "STORAGE_EMULATOR_HOST"
"""What Google's own SDKs read: where a server is that stands for theirs, and asks for no credentials."""

_ENDPOINTS = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "gs": ("GOOGLE_BASE_URL", _EMULATOR),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}

CREDENTIALS = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; for a public one AWS_SKIP_SIGNATURE=true",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS; for a public bucket GOOGLE_SKIP_SIGNATURE=true",
    "az": "set AZURE_STORAGE_ACCOUNT_NAME and a key or a token; for a public container AZURE_SKIP_SIGNATURE=true",
}
"""What to do about credentials that were not found."""


def open_bucket(scheme: str, bucket: str, settings: Settings) -> Any:
    """A store of obstore.

    Args:
        scheme: `s3`, `gs` or `az`.
        bucket: its name; of Azure the container's.
        settings: timeouts.

    Raises:
        MissingExtra: a profile was asked for, and boto3 is not there.
        SourceError: the environment names something that cannot be.
    """
    options: dict[str, Any] = {
        "client_options": {
            "connect_timeout": "10s",
            "timeout": f"{max(1, int(settings.timeout))}s",
            "user_agent": f"fusefs/{__version__}",
            "allow_http": _in_the_clear(scheme),
        },
        "retry_config": {"max_retries": 0},  # who asks tries again
    }
    if scheme == "s3":
        options |= _profile()
    if scheme == "gs" and (emulator := os.environ.get(_EMULATOR)) and not os.environ.get("GOOGLE_BASE_URL"):
        options |= {"base_url": emulator if "://" in emulator else f"http://{emulator}", "skip_signature": True}
    try:
        return {"s3": S3Store, "gs": GCSStore, "az": AzureStore}[scheme](bucket, **options)
    except (BaseError, ValueError) as exc:
        raise SourceError(str(exc).partition("\n")[0][:_LONGEST], source=f"{scheme}://{bucket}") from exc


def _in_the_clear(scheme: str) -> bool:
    """Whether the environment names an endpoint in plain http: a person has written it so."""
    first = next((os.environ[name] for name in _ENDPOINTS[scheme] if os.environ.get(name)), "")
    plain = first.startswith("http://") or (scheme == "gs" and bool(first) and "://" not in first)
    return plain or bool(os.environ.get("AZURE_STORAGE_USE_EMULATOR") and scheme == "az")


def _profile() -> dict[str, Any]:
    """What obstore must be given beside the environment: an endpoint of S3 alone, and the credentials of a profile.

    Raises:
        MissingExtra: a profile was asked for, and boto3 is not there.
    """
    found: dict[str, Any] = {}
    if endpoint := os.environ.get("AWS_ENDPOINT_URL_S3"):
        found["endpoint"] = endpoint
    asked = bool(os.environ.get("AWS_PROFILE"))
    own = any(name in os.environ for name in _OWN_WAY) or any(n.startswith("AWS_CONTAINER_") for n in os.environ)
    files = (Path("~/.aws/credentials").expanduser(), Path("~/.aws/config").expanduser())
    if not asked and (own or not any(file.exists() for file in files)):
        return found
    try:
        from boto3 import Session
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ModuleNotFoundError as exc:
        if asked:
            raise MissingExtra("an AWS profile", "cloud", "boto3") from exc
        return found
    try:
        session = Session()
        found["credential_provider"] = Boto3CredentialProvider(session)
        if session.region_name:
            found["region"] = session.region_name
    except Exception as exc:  # botocore has a tree of its own: a profile that is not there, or half of one
        if asked:
            raise SourceError(f"the AWS profile cannot be used: {str(exc)[:_LONGEST]}") from exc
    return found

"""Trust: which certificates a server is believed by, and what to say when it is not.

The system's certificates, or those that SSL_CERT_FILE and SSL_CERT_DIR name in their place (OpenSSL's variables).
OpenSSL passes over a name of what is not there, and every certificate is wrong from then on; so that is said.
"""

from __future__ import annotations

import logging
import os
import ssl

from fusefs.values.printable import line_of

log = logging.getLogger(__name__)

_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_MAX_SHOWN = 120


def tls_context(*, insecure: bool) -> ssl.SSLContext:
    """Verification against the trusted certificates, or none at all."""
    for complaint in () if insecure else _complaints():
        log.warning("%s", complaint)
    context = ssl.create_default_context()
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def remedy() -> str:
    """What a person can do about a certificate that is not trusted."""
    ways = "SSL_CERT_FILE=FILE or SSL_CERT_DIR=DIR name certificates to trust, https+insecure:// trusts any"
    return "; ".join((*_complaints(), ways))


def _complaints() -> list[str]:
    """Each variable that names what cannot be read."""
    return [
        f"{variable} names {line_of(text, _MAX_SHOWN)}, which {fault}"
        for variable in _VARIABLES
        if (text := os.environ.get(variable)) and (fault := _fault(variable, text))
    ]


def _fault(variable: str, text: str) -> str:
    if variable == "SSL_CERT_DIR":  # a list; one folder that is there is enough
        return "" if any(os.path.isdir(folder) for folder in text.split(":")) else "is no folder that can be read"
    try:
        with open(os.open(text, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            file.read(1)
    except OSError as exc:
        return f"cannot be read ({exc.strerror})"
    return ""

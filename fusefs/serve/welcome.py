"""The page for a person who opens the server in a browser: the models, and the command that mounts each.

No scripts, nothing from elsewhere; every name is escaped, and the policy in the headers allows only this style.
"""

from __future__ import annotations

import base64
import hashlib
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusefs.offers.catalog import Offer

_SHOWN = 1000
"""Models on the page at most; `/v2/_catalog` has all."""

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:50em;margin:2em auto;padding:0 1em;color:#222;background:#fff}"
    "h1{font-size:1.4em}h2{font-size:1em;margin:1.5em 0 .2em;overflow-wrap:anywhere}p{margin:.3em 0}"
    "pre{margin:0;padding:.5em .7em;background:#f2f2f2;border-radius:4px;white-space:pre-wrap;overflow-wrap:anywhere}"
    "small,footer{color:#666}footer{margin-top:2em}"
    "@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}pre{background:#282828}"
    "small,footer{color:#999}a{color:#8ab4f8}}"
)

_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def page(offers: Sequence[Offer], base: str) -> str:
    """The page.

    Args:
        offers: what is served.
        base: `http://host:port` as the reader calls this server.
    """
    count = "1 model is" if len(offers) == 1 else f"{len(offers)} models are" if offers else "No model is"
    shown = offers[:_SHOWN]
    parts = [_model(offer, base) for offer in shown]
    if len(offers) > len(shown):
        parts.append(
            f'<p>… and {len(offers) - len(shown)} more: <a href="/v2/_catalog">/v2/_catalog</a> lists all of them.</p>'
        )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>fusefs: models</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{count} served here</h1>\n"
        "<p>With fusefs on your machine, this mounts one on the empty folder <code>mnt</code>; its files are fetched "
        "as they are read.</p>\n" + "\n".join(parts) + "\n<footer>This server is a registry: "
        '<a href="/v2/_catalog">/v2/_catalog</a> lists the models for programs.</footer>\n</body>\n</html>\n'
    )


def _model(offer: Offer, base: str) -> str:
    folder = f" <small>folder {escape(offer.folder)}</small>" if offer.folder else ""
    return f"<h2>{escape(offer.name)}{folder}</h2>\n<pre>fusefs mount {escape(base)}/{escape(offer.name)} mnt</pre>"

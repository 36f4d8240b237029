"""The page that a web server makes of a folder without an index of its own: the names in its links.

nginx, Apache, lighttpd, Caddy and Python's http.server write such pages, each in its own way; what all have is a link
for each entry, relative to the folder or below its own path.  Names come from the network: who uses one checks it.
"""

from __future__ import annotations

from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

from fusefs.artifacts.manifest import MAX_LAYERS
from fusefs.errors import InvalidManifest


def parse_autoindex(raw: bytes, folder: str) -> tuple[list[str], list[str]]:
    """Read a page.

    Args:
        raw: all of it.
        folder: the path of its URL, which ends with a slash.

    Returns:
        The names of files, and of folders, in the order of the page, without percent-encoding.

    Raises:
        InvalidManifest: more links than any folder of a model has.
    """
    links = _Links()
    links.feed(raw.decode("utf-8", "replace"))
    links.close()
    if len(links.found) > MAX_LAYERS:
        raise InvalidManifest(f"a page of {len(links.found)} links, at most {MAX_LAYERS} are accepted")
    files, folders = dict[str, None](), dict[str, None]()
    for link in links.found:
        name = _name(link, folder)
        if name.endswith("/"):
            folders.setdefault(name[:-1])
        elif name:
            files.setdefault(name)
    return list(files), list(folders)


def _name(link: str, folder: str) -> str:
    """What a link leads to in the folder itself; empty where it leads elsewhere, or orders the page anew."""
    try:
        parts = urlsplit(link)
    except ValueError:
        return ""
    if parts.scheme or parts.netloc or parts.query or parts.fragment:
        return ""
    path = parts.path.removeprefix("./")
    if path.startswith("/"):
        inside = unquote(path).removeprefix(unquote(folder))
        if inside == unquote(path):
            return ""
        name = inside
    else:
        name = unquote(path)
    plain = name.removesuffix("/")
    return "" if plain in ("", ".", "..") or "/" in plain else name


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.found += [value for name, value in attrs if name == "href" and value]

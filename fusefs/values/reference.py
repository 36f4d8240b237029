"""Reference: what a person names as a SOURCE: a model of a registry, of the Hub or of the web, or a folder here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self, TypeAlias

from fusefs.errors import InvalidName
from fusefs.values.hubendpoint import HUGGING_FACE, HubEndpoint
from fusefs.values.hubname import HubName
from fusefs.values.hubpage import read_page
from fusefs.values.names import Name
from fusefs.values.webtree import WebTree

_PATH_BEGINS = ("/", ".", "~")
_FILE = "file://"


@dataclass(frozen=True, slots=True)
class LocalPath:
    """A folder of this machine, whose models are read in place.

    Attributes:
        path: as it was written, without `file://`.
    """

    path: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a path, or a `file://` URL of this machine.

        Raises:
            InvalidName: it is none.
        """
        path = text.removeprefix(_FILE)
        if path is not text and not path.startswith("/"):
            raise InvalidName(f"invalid source {text[:200]!r}: want file:///path, of this machine")
        if "\0" in path:
            raise InvalidName(f"invalid source {text[:200]!r}: a path holds no zero byte")
        return cls(path)

    @property
    def short(self) -> str:
        """As a person would write it."""
        return self.path

    def __str__(self) -> str:
        return self.path


Reference: TypeAlias = Name | LocalPath


def is_path(text: str) -> bool:
    """Whether a word is meant as a path of this machine: no name of a model begins so."""
    return text.startswith(_PATH_BEGINS)


def is_local(text: str) -> bool:
    """Whether a SOURCE is a path of this machine, or a `file://` URL."""
    return is_path(text) or text.startswith(_FILE)


def parse_model(text: str, hub: HubEndpoint = HUGGING_FACE) -> Name:
    """Read the name of a model, wherever that lives.

    Args:
        text: as a person wrote it.
        hub: where `hf://` leads to.

    Raises:
        InvalidName: a part of it is wrong.
        InvalidDigest: what follows `@` is no digest.
    """
    return HubName.read(text, hub) or read_page(text, hub) or WebTree.read(text) or Name.parse(text)


def parse_reference(text: str, hub: HubEndpoint = HUGGING_FACE) -> Reference:
    """Read a SOURCE.

    Args:
        text: as a person wrote it.
        hub: where `hf://` leads to.

    Raises:
        InvalidName: a part of a name is wrong, or it is no path.
        InvalidDigest: what follows `@` is no digest.
    """
    return LocalPath.parse(text) if is_local(text) else parse_model(text, hub)

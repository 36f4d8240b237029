"""Extended attributes: what a file of a mount says of itself to who asks by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusefs.errors import NoSuchAttribute, NoSuchNamespace
from fusefs.values.digest import Digest
from fusefs.vfs.tree import FileNode

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusefs.vfs.tree import Node

NAMESPACE = "user."
"""Where extended attributes of ours are, and where a program may look for its own in vain."""

XATTRS = ("user.fusefs.digest", "user.fusefs.state", "user.fusefs.present", "user.fusefs.proof")


def names_of(node: Node) -> tuple[str, ...]:
    """Their names; a folder has none."""
    return XATTRS if isinstance(node, FileNode) else ()


def value_of(
    node: Node, name: str, *, presence: Callable[[FileNode], tuple[int, str]], proof: Callable[[FileNode], str]
) -> bytes:
    """The value of one, as text.

    Args:
        node: a file or a folder.
        name: of the attribute.
        presence: says how many bytes of a file are present, and its state.
        proof: says who stands behind its chunk list.

    Raises:
        NoSuchAttribute: it has none of that name.
        NoSuchNamespace: no file here has attributes of that kind.
    """
    if not name.startswith(NAMESPACE):
        raise NoSuchNamespace(f"no attribute like {name!r} is kept here")
    if name not in XATTRS or not isinstance(node, FileNode):
        raise NoSuchAttribute(f"/{node.path} has no attribute {name!r}")
    if name == XATTRS[0]:
        if isinstance(node.content, bytes):
            return str(Digest.of(node.content)).encode()
        if not node.content.is_whole:
            raise NoSuchAttribute(f"/{node.path} is a part of a blob and has no digest of its own")
        return str(node.content.blob.digest).encode()
    if name == XATTRS[3]:
        return proof(node).encode()
    present, state = presence(node)
    return state.encode() if name == XATTRS[1] else str(present).encode()

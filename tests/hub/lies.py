"""Lies of a Hub and its stores: changes of right answers, for `ScriptedHub.change` (documents through `edited`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lz4.frame

from tests.hub.repository import MASK

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.hub.packing import Xorb

# Of a reconstruction


def cut_short(xorbs: Mapping[str, Xorb]) -> Callable[[Any], None]:
    """It lacks its last chunk, and is right about what is left."""

    def edit(document: Any) -> None:
        term = document["terms"][-1]
        term["range"]["end"] -= 1
        term["unpacked_length"] -= xorbs[term["hash"]].chunks[term["range"]["end"]][1]
        if not term["unpacked_length"]:
            del document["terms"][-1]

    return edit


def reordered(xorbs: Mapping[str, Xorb]) -> Callable[[Any], None]:
    """The last chunk comes first: all lengths are right, only a proof tells."""

    def edit(document: Any) -> None:
        term = document["terms"][-1]
        end = term["range"]["end"] - 1
        size = xorbs[term["hash"]].chunks[end][1]
        moved = {"hash": term["hash"], "range": {"start": end, "end": end + 1}, "unpacked_length": size}
        cut_short(xorbs)(document)
        document["terms"].insert(0, moved)
        document["offset_into_first_range"] = 0

    return edit


def overlapping(xorbs: Mapping[str, Xorb]) -> Callable[[Any], None]:
    """The last chunk comes twice."""

    def edit(document: Any) -> None:
        term = document["terms"][-1]
        end = term["range"]["end"] - 1
        size = xorbs[term["hash"]].chunks[end][1]
        again = {"hash": term["hash"], "range": {"start": end, "end": end + 1}, "unpacked_length": size}
        document["terms"].insert(0, again)

    return edit


def longer(document: Any) -> None:
    """A term has one byte more, it says, than its chunks have."""
    document["terms"][0]["unpacked_length"] += 1


# Of a range of a xorb


def lying_header(body: bytes) -> bytes:
    """The first chunk has one byte more, its header says, than it has."""
    size = int.from_bytes(body[5:8], "little") + 1
    return body[:5] + size.to_bytes(3, "little") + body[8:]


def bomb(body: bytes) -> bytes:
    """The first chunk is a frame of LZ4 of the right packed length, or nearly, that unpacks to 64 MiB."""
    packed = int.from_bytes(body[1:4], "little")
    frame: bytes = lz4.frame.compress(bytes(64 << 20), store_size=False)[:packed]
    return body[:4] + b"\x01" + body[5:8] + frame + body[8 + len(frame) :]


# Of a proof


def of_another_file(document: Any) -> None:
    """All hashes are other ones."""
    for gap in document["hashRanges"]:
        for node in gap["nodes"] if gap else ():
            node["hash"] = node["hash"][::-1]


def one_digit(document: Any) -> None:
    """One digit of one hash is another one."""
    node = next(node for gap in document["hashRanges"] if gap for node in gap["nodes"])
    node["hash"] = ("1" if node["hash"][0] == "0" else "0") + node["hash"][1:]


# Of a tree


def masked(entries: Any) -> None:
    """Digests are not shown, as in a gated repository."""
    for entry in entries:
        if "lfs" in entry:
            entry["lfs"]["oid"] = MASK
            entry["xetHash"] = MASK


def larger(entries: Any) -> None:
    """Every file has one byte more than it has."""
    for entry in entries:
        entry["size"] += 1
        if "lfs" in entry:
            entry["lfs"]["size"] += 1

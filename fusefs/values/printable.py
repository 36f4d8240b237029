"""Text that somebody else chose, as it is shown: names, tags, paths, and what servers say.

A control character moves the cursor, colours the screen, sets the clipboard, or forges a line; a bidirectional override
shows another name than there is.  What is no printable character is shown as a replacement, at the places where text
goes out: the view, the one line of an error, and the log.
"""

from __future__ import annotations

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def printable(text: str) -> str:
    """The text on one line, without control, format, and private characters, separators, and halves of surrogates."""
    if text.isascii() and text.isprintable():
        return text  # the most common by far
    return "".join(c if c.isprintable() else REPLACEMENT for c in text)


def line_of(text: str, longest: int = 300) -> str:
    """What somebody else said, as part of a line of ours: printable, without white space to no end, and cut."""
    words = " ".join(text[: 4 * longest].split())
    shown = printable(words)
    return shown if len(shown) <= longest else shown[:longest] + "…"


def contained(text: str) -> str:
    """Lines of ours with text of others in them, for example a traceback: no line begins as one of the log does.

    A line goes on from the one before it when it begins with a blank; the heading of a traceback is known to be one.
    """
    head, *rest = text.split("\n")
    lines = [line if line in ("", _TRACEBACK) or line.startswith(" ") else f"  {line}" for line in rest]
    return "\n".join(map(printable, [head, *lines]))


_TRACEBACK = "Traceback (most recent call last):"


def escaped_json(document: bytes) -> bytes:
    """A JSON document with what is not printable escaped: the same to a program, inert on a terminal."""
    text = document.decode()
    if text.isprintable():
        return document
    return "".join(c if c.isprintable() or c == "\n" else _escape(c) for c in text).encode()


def _escape(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))

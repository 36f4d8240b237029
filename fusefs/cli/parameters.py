"""What a person writes on the command line: the types of parameters, and the options that several commands share."""

from __future__ import annotations

import os
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fusefs.errors import InvalidInput, InvalidName, InvalidSetting
from fusefs.system.hubplaces import hub_for
from fusefs.system.places import needed_cache_home
from fusefs.values.hubname import HubName
from fusefs.values.hubpage import HUB_PAGES
from fusefs.values.listplace import ListPlace
from fusefs.values.mirror import Mirror
from fusefs.values.names import DOCKER_HUB, HUB_HOSTS, BaseUrl, Name, host_alone, without_user
from fusefs.values.reference import Reference, is_local, is_path, parse_model, parse_reference
from fusefs.values.selection import Selection, parse_pattern
from fusefs.values.settings import ABLATED, Settings, parse_age, parse_seconds, parse_size
from fusefs.values.webtree import WebTree

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DEFAULT_LISTEN = "127.0.0.1:8080"


class _Text(click.ParamType):  # type: ignore[type-arg] # older clicks cannot be subscripted at run time
    """A parameter that one of our own parsers reads; what it refuses is wrong usage."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ARG002 # click's signature
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except InvalidInput as exc:
            raise click.UsageError(str(exc), ctx) from exc


_SHA256 = "fusefs.sha256"
"""Key of the context's `meta`: the digest of `--sha256`, which is looked at before the SOURCEs are."""


class _Source(_Text):
    """A SOURCE, which `--sha256` makes the URL of one file."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        digest = ctx.meta.get(_SHA256, "") if ctx is not None else ""
        return super().convert(f"{value}#sha256={digest}" if digest else value, param, ctx)


def _note_sha256(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    ctx.meta[_SHA256] = value or ""


def _parse_listen(text: str) -> tuple[str, int]:
    """`HOST:PORT`, `:PORT` for every address, `[::1]:PORT`."""
    host, colon, port = text.rpartition(":")
    if not colon or "/" in host or not port.isascii() or not port.isdecimal() or int(port) > 65535:
        raise InvalidSetting(f"invalid address {text[:80]!r}: want HOST:PORT, for example {DEFAULT_LISTEN}")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 # `:PORT` asks for every address


def _parse_path(text: str) -> Path:
    """Any path; click's own type would look at it, and looking at a hung mount hangs."""
    if not text:
        raise InvalidSetting("a path must not be empty")
    return Path(text)


def _parse_word(text: str) -> str:
    """Anything; the command finds out what it is."""
    if not text or "\0" in text:
        raise InvalidSetting("an argument must not be empty")
    return text


def _parse_mountpoint(text: str) -> Path:
    """A path; a URL in its place is a source behind which the mount point was forgotten.  It may hold a password."""
    if "://" in text and not is_path(text):
        raise InvalidSetting("Missing argument 'MOUNTPOINT': the last word is a SOURCE")
    return _parse_path(text)


def check_both(sources: Sequence[Reference | BaseUrl], mountpoint: Path, *, locked: bool = False) -> None:
    """The last word is the mount point; where one was forgotten, say which.  With a lock there need be no source.

    Raises:
        click.UsageError: it was.
    """
    text = str(mountpoint)
    is_folder = is_path(text) or os.path.isdir(text)
    if not sources and not (locked and is_folder):
        raise click.UsageError("Missing argument 'SOURCE...'" if is_folder else "Missing argument 'MOUNTPOINT'")
    if not is_folder and ":" in text:
        shown = without_user(text)[:80]
        raise click.UsageError(f"Missing argument 'MOUNTPOINT': {shown!r} is no folder but a SOURCE")


def _parse_name(text: str) -> Name:
    """The name of a model; a folder of this machine is there already, and is only mounted."""
    if is_local(text):
        raise InvalidName(f"{text[:80]!r} is a folder of this machine: `fusefs mount` reads it in place")
    return parse_model(text, hub_for(text))


def _parse_place(text: str) -> Reference:
    """A model or a folder of this machine."""
    return parse_reference(text, hub_for(text))


def _is_tree(text: str) -> bool:
    """Whether it is the name of a model, or a wrong one, and can be no host."""
    return HubName.read(text) is not None or WebTree.read(text) is not None


def _or_host(parse: Callable[[str], Reference]) -> Callable[[str], Reference | BaseUrl]:
    """A host in the place of a model stands for the question what it has."""

    def parsed(text: str) -> Reference | BaseUrl:
        host = None if is_local(text) or _is_tree(text) else host_alone(text)
        if host is not None and host.host in HUB_PAGES:
            raise InvalidName(f"{text[:80]!r} is the Hugging Face Hub: name one of its models, as hf://OWNER/MODEL")
        return host or parse(text)

    return parsed


def _parse_host(text: str) -> BaseUrl:
    """A registry, as other programs have it: a host is enough."""
    url = BaseUrl.parse(text if "://" in text else f"oci://{text}")
    host = url.host.removesuffix(":80" if url.scheme == "http" else ":443")  # as passwords are looked for
    return replace(url, host=DOCKER_HUB if host in HUB_HOSTS else host)


SOURCE = _Text("source", _parse_name)
HOST = _Text("host", _parse_host)
SOURCE_OR_HOST = _Source("source", _or_host(_parse_name))
PLACE = _Text("source", _parse_place)
PLACE_OR_HOST = _Source("source", _or_host(_parse_place))
SIZE = _Text("size", parse_size)
SECONDS = _Text("seconds", parse_seconds)
AGE = _Text("age", parse_age)
LISTEN = _Text("host:port", _parse_listen)
MIRROR = _Text("url", lambda text: str(Mirror.parse(text)))
LIST_PLACE = _Text("place", lambda text: ListPlace.parse(text).text)
PATH = _Text("path", _parse_path)
PATTERN = _Text("glob", parse_pattern)
WORD = _Text("word", _parse_word)
MOUNTPOINT = _Text("path", _parse_mountpoint)

_Command = Any  # click's decorators change the type of what they wrap


def together(*decorators: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    """Several decorators as one; the first stands first in the help."""

    def decorate(command: _Command) -> _Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


def choice_option(name: str, choices: Sequence[str], text: str) -> Callable[[_Command], _Command]:
    """An option whose value is one of `choices`; the first is the default."""
    return click.option(name, type=click.Choice(choices), default=choices[0], show_default=True, help=text)


lockable_sources_argument = click.argument("sources", metavar="SOURCE...", nargs=-1, type=SOURCE_OR_HOST)
sources_argument = click.argument("sources", metavar="SOURCE...", nargs=-1, required=True, type=SOURCE)
sha256_option = click.option(
    "--sha256",
    metavar="HEX",
    is_eager=True,
    expose_value=False,
    callback=_note_sha256,
    help="SOURCE is the URL of one file with this digest; the same as SOURCE#sha256=HEX.",
)
places_arguments = together(
    # Not required here: of a single word click would say that the source is missing; `check_both` looks which it is.
    click.argument("sources", metavar="SOURCE...", nargs=-1, required=False, type=PLACE_OR_HOST),
    click.argument("mountpoint", type=MOUNTPOINT),
)
cache_option = click.option(
    "--cache-dir",
    type=PATH,
    metavar="DIR",
    envvar="FUSEFS_CACHE_DIR",
    help="Where fetched bytes are kept. [default: $FUSEFS_CACHE_DIR, else ~/.cache/fusefs]",
)
verbose_option = click.option("-v", "--verbose", is_flag=True, help="Log every step, and the traceback of a failure.")
offer_options = together(
    click.option(
        "--chunk-size",
        type=SIZE,
        metavar="SIZE",
        default="1MiB",
        show_default=True,
        help="Bytes a chunk of the lists: a reader fetches and proves at least one.",
    ),
    click.option("--hidden", is_flag=True, help="Offer hidden files and folders, too."),
    click.option(
        "--private",
        is_flag=True,
        help="Offer files that others may not read, and files that are named like keys or passwords, too.",
    ),
)
fetch_options = together(
    click.option(
        "--store",
        "stores",
        type=PATH,
        metavar="DIR",
        multiple=True,
        help="An OLLAMA_MODELS directory that is asked before the network; may be given several times.",
    ),
    click.option(
        "--timeout",
        type=SECONDS,
        metavar="TIME",
        default="300s",
        show_default=True,
        help="How long a read is retried without success before it fails, for example 30s or 5m.",
    ),
    click.option(
        "--memory",
        type=SIZE,
        metavar="SIZE",
        default="256MiB",
        show_default=True,
        help="Memory for chunks in flight, and for verified chunks that the disk has refused or nobody has read yet.",
    ),
    click.option(
        "--cache-size",
        type=SIZE,
        metavar="SIZE",
        help="Disk space for the cache; the least recently used chunks make room. [default: no limit but --keep-free]",
    ),
    click.option(
        "--keep-free",
        type=SIZE,
        metavar="SIZE",
        help="Space of the disk that stays free. [default: a twentieth of it, at most 2 GiB]",
    ),
    click.option(
        "--mirror",
        "mirrors",
        type=MIRROR,
        metavar="URL",
        multiple=True,
        help="Another registry with the same blobs, or a cache, https://host[:port][/path]: bytes come from it "
        "first, the meaning of a tag and the digests still from the registry in the name; may be given several times, "
        "asked in that order.",
    ),
    click.option(
        "--index-from",
        "index_from",
        type=LIST_PLACE,
        metavar="PLACE",
        multiple=True,
        help="Where chunk lists are that the registry does not have, by the digest of the blob: a folder (./DIR), "
        "a URL, or a repository (oci://host/namespace/name); may be given several times.",
    ),
    click.option(
        "--allow-private",
        is_flag=True,
        help="Follow redirects of a public registry to private addresses.",
    ),
)


selection_options = together(
    click.option(
        "--include",
        type=PATTERN,
        metavar="GLOB",
        multiple=True,
        help="Only files whose path matches, for example *.safetensors or onnx/*: `*` takes / as well. May be given "
        "several times; a file matches one of them.",
    ),
    click.option(
        "--exclude",
        type=PATTERN,
        metavar="GLOB",
        multiple=True,
        help="No file whose path matches; may be given several times.",
    ),
)

lock_option = click.option(
    "--lock",
    "lock_file",
    type=PATH,
    metavar="FILE",
    help="What the models must be made of, as `fusefs lock` wrote it; without a SOURCE all models of the lock.",
)

lists_option = click.option(
    "--lists",
    type=click.Choice(["bound", "registry"]),
    help="Chunk lists that count before a whole blob is proved: only those that matched the blob's digest (bound), "
    "or the registry's, too. "
    "[default: bound for a name with a digest, else registry]",
)


def cache_dir_of(given: Path | None) -> Path:
    """The cache directory: what was named, else the place for caches of this user."""
    if given is not None:
        return given
    return needed_cache_home()


def selection_of(options: dict[str, Any]) -> Selection:
    """The files that a person chose."""
    return Selection(options["include"], options["exclude"])


_SWITCHED_OFF = "FUSEFS_WITHOUT"
"""Set by `scripts/bench --without` alone: it measures what parts of prefetch are worth (`Settings.without`)."""


def settings_of(options: dict[str, Any]) -> Settings:
    """The settings among the options of one command; what the command does not offer keeps its default."""
    names = {field.name for field in fields(Settings)}
    without = frozenset(os.environ.get(_SWITCHED_OFF, "").split(",")).intersection(ABLATED)
    return Settings(without=without, **{name: value for name, value in options.items() if name in names})

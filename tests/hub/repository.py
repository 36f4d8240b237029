"""Repository: commits, branches and files of one repository of the scripted Hub, and who may see what of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from tests.hub.packing import pack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tests.hub.packing import PackedFile, Packing

RepoKind = Literal["models", "datasets", "spaces"]
Keeping = Literal["regular", "lfs", "xet"]
"""How a file is kept: in git, by a pointer of git-lfs, by a pointer and in the Xet store."""

MASK = "*" * 64
LARGE = (".safetensors", ".gguf", ".bin", ".onnx", ".parquet", ".pt")
"""Names whose files are kept outside of git, as `.gitattributes` of a new repository says it."""

OPEN_FILES = ("README.md", ".gitattributes")
"""Files of a gated repository that everybody may read."""


@dataclass(frozen=True)
class HubFile:
    """A file of one commit.

    Attributes:
        path: from the root of the repository.
        data: its content.
        packed: the same in the Xet store, of a file that is kept there.
        keeping: see `Keeping`.
    """

    path: str
    data: bytes
    keeping: Keeping
    packed: PackedFile | None = None

    @cached_property
    def sha256(self) -> str:
        """Of the content."""
        return hashlib.sha256(self.data).hexdigest()

    @cached_property
    def pointer(self) -> bytes:
        """What git keeps in the place of a large file."""
        text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(self.data)}\n"
        return text.encode()

    @cached_property
    def oid(self) -> str:
        """The name that git has for it, or for its pointer."""
        return git_oid(self.data if self.keeping == "regular" else self.pointer)

    def entry(self, *, masked: bool = False) -> dict[str, Any]:
        """Its entry in the listing of a tree."""
        found: dict[str, Any] = {"oid": self.oid, "path": self.path, "size": len(self.data), "type": "file"}
        if self.keeping != "regular":
            oid = MASK if masked else self.sha256
            found["lfs"] = {"oid": oid, "pointerSize": len(self.pointer), "size": len(self.data)}
        if self.packed is not None:
            found["xetHash"] = MASK if masked else self.packed.hash
        return dict(sorted(found.items()))


def git_oid(data: bytes, kind: str = "blob") -> str:
    """The name of an object of git."""
    return hashlib.sha1(f"{kind} {len(data)}\0".encode() + data).hexdigest()


@dataclass(frozen=True)
class Commit:
    """One commit: its sha, and the files by path."""

    sha: str
    files: dict[str, HubFile]


@dataclass
class Repository:
    """See the module's text.

    Attributes:
        kind: what it is a repository of.
        id: `organisation/name`, or one name.
        private: only `readers` know that it exists.
        gated: everybody sees it, only `readers` have its files.
        disabled: nobody has anything.
        readers: the tokens of those who may read it.
        xet: large files are kept in the Xet store; else only as git-lfs has them.
        branches: the commit of each branch (or tag, or `refs/pr/1`), by its sha.
        keep: is handed what is put into the Xet store.
    """

    kind: RepoKind
    id: str
    private: bool = False
    gated: Literal[False, "auto", "manual"] = False
    disabled: bool = False
    readers: set[str] = field(default_factory=set)
    xet: bool = True
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    keep: Callable[[Packing], None] = lambda _packing: None

    @property
    def number(self) -> str:
        """What the Hub calls it by itself."""
        return hashlib.sha1(f"{self.kind}/{self.id}".encode()).hexdigest()[:24]

    @property
    def commit(self) -> str:
        """The sha of `main`."""
        return self.branches["main"]

    def push(
        self,
        files: Mapping[str, bytes | None],
        *,
        branch: str = "main",
        keeping: Mapping[str, Keeping] | None = None,
        base: Iterable[bytes] = (),
    ) -> str:
        """Make a commit.  Returns its sha.

        Args:
            files: what changes, by path; None takes a file away.
            branch: which moves to the commit, or begins with it (from `main`, if that is there).
            keeping: how some of the files are kept, where their names do not say it.
            base: contents that are in the store already, and with which the new files may share chunks.
        """
        before = self.branches.get(branch, self.branches.get("main"))
        tree = dict(self.commits[before].files) if before is not None else {}
        new = {path: HubFile(path, data, self._keeping(path, data, keeping)) for path, data in files.items() if data}
        new |= {path: HubFile(path, data, "regular") for path, data in files.items() if data == b""}
        tree = {path: file for path, file in tree.items() if files.get(path, b"") is not None}
        tree |= self._packed(new, tuple(base))
        lines = [f"{path} {file.oid}" for path, file in sorted(tree.items())]
        sha = git_oid("\n".join([f"parent {before}", *lines]).encode(), "commit")
        self.commits[sha] = Commit(sha, dict(sorted(tree.items())))
        self.branches[branch] = sha
        return sha

    def _keeping(self, path: str, data: bytes, chosen: Mapping[str, Keeping] | None) -> Keeping:
        large: Keeping = "xet" if self.xet else "lfs"
        return (chosen or {}).get(path, large if path.endswith(LARGE) else "regular")

    def _packed(self, files: Mapping[str, HubFile], base: tuple[bytes, ...]) -> dict[str, HubFile]:
        stored = {path: file for path, file in files.items() if file.keeping == "xet"}
        if not stored:
            return dict(files)
        packing = pack(tuple(file.data for file in stored.values()), base)
        self.keep(packing)
        pairs = zip(stored.items(), packing.files, strict=True)
        return {**files, **{path: replace(file, packed=packed) for (path, file), packed in pairs}}

    def find(self, revision: str) -> Commit | None:
        """The commit of a branch, or of a sha."""
        return self.commits.get(self.branches.get(revision, revision))

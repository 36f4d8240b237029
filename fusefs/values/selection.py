"""Selection: which files of a SOURCE are shown and fetched, by patterns of their paths (`--include`, `--exclude`).

The rules are those of `allow_patterns` and `ignore_patterns` of huggingface_hub: the whole path is matched, as
fnmatch(3) does it, `*` takes `/` as well, capitals matter, and `folder/` stands for everything below the folder.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from fusefs.errors import InvalidSetting

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from fusefs.values.snapshot import Snapshot

_LONGEST = 4096
"""Characters of a pattern, as of a path."""

_SHOWN = 4
"""Paths or models that a line names."""


def parse_pattern(text: str) -> str:
    r"""Read one pattern; `\` stands for `/`, as in huggingface_hub.

    Raises:
        InvalidSetting: it is empty, or longer than any path.
    """
    if not text or len(text) > _LONGEST:
        raise InvalidSetting(f"invalid pattern {text[:40]!r}: want something like '*.safetensors' or 'onnx/*'")
    pattern = text.replace("\\", "/")
    return f"{pattern}*" if pattern.endswith("/") else pattern


@dataclass(frozen=True, slots=True)
class Selection:
    """What a person chose.

    Attributes:
        include: patterns of which a path must match one; without any each path does.
        exclude: patterns of which it must match none.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.include or self.exclude)

    def __str__(self) -> str:
        words = [*(f"--include {one!r}" for one in self.include), *(f"--exclude {one!r}" for one in self.exclude)]
        return " ".join(words)

    def shows(self, path: str) -> bool:
        """Whether a file is chosen; `path` is that in its own model."""
        if self.include and not any(fnmatchcase(path, one) for one in self.include):
            return False
        return not any(fnmatchcase(path, one) for one in self.exclude)

    def check(self, paths: Sequence[str]) -> None:
        """See that a file is chosen, where there are any.

        Raises:
            InvalidSetting: none is.
        """
        if paths and not any(map(self.shows, paths)):
            raise InvalidSetting(f"{self} leaves none of {len(paths)} files: {_some(paths)}")

    def of(self, models: Sequence[Snapshot]) -> list[Snapshot]:
        """The models with the chosen files alone, and the blobs that these are made of.

        A model of which none is chosen stays, without files, so that the others lie where they would lie with it.

        Raises:
            InvalidSetting: there are files, and none is chosen.
        """
        self.check([file.path for model in models for file in model.files])
        return [self.only(model) for model in models]

    def idle(self, models: Sequence[Snapshot], seen: Collection[str] = ()) -> list[str]:
        """Lines about patterns that match no file of any of the models, and about models that lose all their files.

        Args:
            models: with all their files.
            seen: paths of more files, which were left out of a model before.
        """
        paths = {file.path for model in models for file in model.files}.union(seen)
        if not self or not paths:
            return []
        lines = [
            f"{option} {pattern!r} matches none of the files: {_some(sorted(paths))}"
            for option, patterns in (("--include", self.include), ("--exclude", self.exclude))
            for pattern in patterns
            if not any(fnmatchcase(path, pattern) for path in paths)
        ]
        bare = [str(model.reference) for model in models if model.files and not self.only(model).files]
        return [*lines, *([f"{self} leaves no file of {_some(bare)}"] if bare else [])]

    def only(self, model: Snapshot) -> Snapshot:
        """One model with the chosen files alone, of which there may be none."""
        if not self:
            return model
        files = tuple(file for file in model.files if self.shows(file.path))
        needed = {file.content.blob for file in files if not isinstance(file.content, bytes)}
        return replace(
            model,
            files=files,
            blobs=tuple(blob for blob in model.blobs if blob in needed),
            made=tuple(blob for blob in model.made if blob in needed),
        )


EVERYTHING = Selection()
"""No choice: every file."""


def _some(names: Iterable[str]) -> str:
    """A few, and how many more there are."""
    listed = list(names)
    more = len(listed) - _SHOWN
    return ", ".join(listed[:_SHOWN]) + (f" and {more} more" if more > 0 else "")

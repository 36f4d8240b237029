"""`fusefs index` of files, and of models that need no lists."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from fusefs.values.chunks import ChunkList

if TYPE_CHECKING:
    from tests.cli.conftest import Shell

DATA = bytes(range(256)) * 20


def test_the_list_of_a_file_goes_to_stdout_or_to_a_folder_under_the_name_that_readers_look_for(fusefs: Shell) -> None:
    file, folder = fusefs.root / "weights", fusefs.root / "lists"
    file.write_bytes(DATA)
    text = fusefs("index", file, "--chunk-size", "1000").stdout
    assert len(ChunkList.parse(len(DATA), text.encode())) == 6
    path = folder / f"sha256-{hashlib.sha256(DATA).hexdigest()}.chunksums"
    for word in (str(file), "weights", "./weights", f"file://{file}"):
        assert fusefs("index", word, "--chunk-size", "1000", "-o", folder).stdout == f"{path}\n"
    assert path.read_text() == text
    assert [entry.name for entry in folder.iterdir()] == [path.name]


def test_what_is_neither_a_file_nor_a_model_is_one_line(fusefs: Shell) -> None:
    assert "No such file" in fusefs.fails("index", "./none")
    assert "nor is there such a file here" in fusefs.fails("index", "no model", code=2)
    (fusefs.root / "file").write_bytes(b"")
    (fusefs.root / "weights").write_bytes(DATA)
    assert "Not a directory" in fusefs.fails("index", "weights", "-o", fusefs.root / "file" / "lists")


def test_a_model_of_small_files_needs_no_list_and_says_so(fusefs: Shell, model: str) -> None:
    for command in ("index", "publish"):
        done = fusefs(command, model)
        assert done.stdout == ""
        assert done.stderr == f"fusefs: warning: {model}:latest: no file is larger than 64 MiB, so none needs a list\n"

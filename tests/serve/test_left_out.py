"""What nobody meant to give away is not served, and one line says what that is."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fusefs.errors import ServeError
from fusefs.offers.leftout import Allowed, LeftOut, Reason, is_hidden, is_key, is_leaving
from fusefs.values.digest import Digest
from tests.serve.world import serving, write_store, write_tree

MODEL = {"config.json": b"{}", "tokenizer.model": b"t", "sub/vocab.txt": b"v"}
HIDDEN = {
    ".env": b"TOKEN=1",
    ".bash_history": b"ls",
    ".docker/config.json": b"{}",
    ".ssh/known_hosts": b"h",
    ".gitattributes": b"*",
    "sub/.cache/x": b"x",
}
KEYS = {
    "id_rsa": b"k",
    "ID_ED25519.old": b"k",
    "server.pem": b"k",
    "sub/tls.KEY": b"k",
    "passwords.kdbx": b"k",
    "credentials": b"k",
    "zsh_history": b"k",
}
LEAVINGS = {
    "config.json~": b"o",
    ".config.json.swp": b"o",
    "#config.json#": b"o",
    "w.safetensors.incomplete": b"o",
    "sub/Thumbs.db": b"o",
    "notes.bak": b"o",
    "x.orig": b"o",
    "d.lock": b"o",
    ".DS_Store": b"o",
    "__pycache__/a.pyc": b"o",
    ".ipynb_checkpoints/x": b"o",
    ".cache/huggingface/y.metadata": b"o",
    ".git/config": b"o",
}


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder as people have them, under a umask that does not matter."""
    root = tmp_path / "models"
    write_tree(root / "m", MODEL | HIDDEN | KEYS | LEAVINGS)
    write_tree(root, {".netrc": b"machine x", "side.pem": b"k", "old~": b"o"})
    write_tree(root / ".ssh", {"id_rsa": b"k"})
    return root


def served(root: Path, allowed: Allowed) -> set[str]:
    with serving(root, root.parent / "index", allowed=allowed) as running:
        return set(running.client.tree("local/m"))


def test_p10_hidden_files_keys_and_leavings_are_not_served_by_default(models: Path) -> None:
    assert served(models, Allowed()) == set(MODEL)


def test_hidden_files_are_served_when_that_is_said_and_keys_among_them_are_not(models: Path) -> None:
    expected = set(MODEL) | {".gitattributes", "sub/.cache/x"}
    assert served(models, Allowed(hidden=True)) == expected


def test_all_but_leavings_is_served_when_both_are_said(models: Path) -> None:
    assert served(models, Allowed(hidden=True, private=True)) == set(MODEL | HIDDEN | KEYS)


def test_keys_are_served_when_that_is_said_and_hidden_ones_are_not(models: Path) -> None:
    assert served(models, Allowed(private=True)) == set(MODEL | KEYS)


def test_p10_a_hidden_folder_or_a_file_beside_the_models_is_no_model(models: Path) -> None:
    with serving(models, models.parent / "index") as running:
        assert running.client.get("/v2/_catalog").json() == {"repositories": ["local/m"]}
        assert running.client.get("/v2/local/ssh/manifests/latest").status == 404


@pytest.mark.parametrize(
    "name",
    [
        *("tokenizer.model", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"),
        *("added_tokens.json", "merges.txt", "model.safetensors", "model-00001-of-00002.safetensors", "README.md"),
        *("model.safetensors.index.json", "pytorch_model.bin", "model.gguf", "history.json", "keys.npy", "LICENSE"),
        *("checkpoint", "model.ckpt.index", "tokens.bin", "modeling_x.py", "token_embeddings.npy", "requirements.txt"),
    ],
)
def test_names_of_model_files_are_no_keys_and_no_leavings(name: str) -> None:
    assert (is_key(name), is_leaving(name), is_hidden(name)) == (False, False, False)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "id_rsa",
            "id_rsa.pub",
            "x.pem",
            "x.KEY",
            "x.p12",
            "x.pfx",
            "x.kdbx",
            ".bash_history",
            "zsh_history",
            ".netrc",
        ),
        *("credentials", ".pgpass", ".env", ".env.local", "prod.env", ".git-credentials", "ssh_host_rsa_key", "x.ppk"),
        *("client_secret_1.json", ".npmrc", "kubeconfig", "token", ".ssh", ".gnupg"),
    ],
)
def test_p10_names_of_keys_are_known(name: str) -> None:
    assert is_key(name)


def test_p10_what_others_may_not_read_is_left_out_unless_that_is_said(tmp_path: Path) -> None:
    models = tmp_path / "models"
    write_tree(models / "m", {"f": b"f", "mine": b"m", "closed/deep/g": b"g", "group": b"x"})
    write_tree(models / "whole", {"f": b"f"})
    (models / "m" / "link").symlink_to("closed/deep/g")
    (models / "m" / "mine").chmod(0o600)
    (models / "m" / "group").chmod(0o640)
    (models / "m" / "closed").chmod(0o750)
    (models / "whole").chmod(0o700)
    models.chmod(0o700)  # named by the person, as a folder in a closed home directory is
    with serving(models, tmp_path / "index") as running:
        assert running.client.tree("local/m") == {"f": b"f"}
        assert running.client.get("/v2/local/whole/manifests/latest").status == 404
        line = running.server.left_out.line()
    assert line.startswith("left out 5 (-v names all): 5 that others may not read ('whole', ")
    assert line.endswith("--private serves them)")
    with serving(models, tmp_path / "index", allowed=Allowed(private=True)) as running:
        assert set(running.client.tree("local/m")) == {"f", "mine", "group", "closed/deep/g", "link"}
        assert running.client.tree("local/whole") == {"f": b"f"}
        assert running.server.left_out.line() == ""


def test_p10_a_file_that_is_closed_while_it_is_served_is_served_no_more(tmp_path: Path) -> None:
    write_tree(tmp_path / "models" / "m", {"f": b"f", "g": b"g"})
    with serving(tmp_path / "models", tmp_path / "index") as running:
        digest, _ = running.client.layers("local/m")["g"]
        (tmp_path / "models" / "m" / "g").chmod(0o600)
        assert running.client.get(f"/v2/local/m/blobs/{digest}").status == 404
        assert running.client.tree("local/m") == {"f": b"f"}


def test_p10_a_link_to_a_key_is_a_key(tmp_path: Path) -> None:
    write_tree(tmp_path / "models" / "m", {"f": b"f", "x.pem": b"k"})
    (tmp_path / "models" / "m" / "weights").symlink_to("x.pem")
    with serving(tmp_path / "models", tmp_path / "index") as running:
        assert running.client.tree("local/m") == {"f": b"f"}


@pytest.mark.logs("is not served")
def test_p10_a_store_gives_nothing_that_others_may_not_read(tmp_path: Path) -> None:
    write_store(tmp_path / "s", "library/open/latest", {"application/x": b"open", "application/y": b"closed"})
    write_store(tmp_path / "s", "library/shut/latest", {"application/x": b"open"})
    (tmp_path / "s" / "blobs" / Digest.of(b"closed").file_name).chmod(0o600)
    (tmp_path / "s" / "manifests" / "registry.ollama.ai" / "library" / "shut" / "latest").chmod(0o600)
    paths = [f"/v2/library/open/{kind}/{Digest.of(b'closed')}" for kind in ("blobs", "chunksums")]
    with serving(tmp_path / "s", tmp_path / "index") as running:
        for path in paths:
            answer = running.client.get(path)
            assert (answer.status, answer.error[0]) == (403, "DENIED")
            assert "--private" in answer.error[1]
        assert running.client.get(f"/v2/library/open/blobs/{Digest.of(b'open')}").body == b"open"
        assert running.client.get("/v2/library/shut/manifests/latest").status == 404
        assert running.server.left_out.line().startswith("left out 2 (-v names all): 2 that others may not read")
    with serving(tmp_path / "s", tmp_path / "index", allowed=Allowed(private=True)) as running:
        assert [running.client.get(path).status for path in paths] == [200, 200]
        assert running.client.get("/v2/library/shut/manifests/latest").status == 200
        assert running.server.left_out.line() == ""


@pytest.mark.logs("local/m is not served: the folder of m holds no file that may be served")
def test_a_folder_of_which_nothing_may_be_served_says_why(tmp_path: Path) -> None:
    write_tree(tmp_path / "models" / "m", {".env": b"x", "f": b"f"})
    (tmp_path / "models" / "m" / "f").chmod(0o600)
    wanted = "holds no model: left out 3 .*1 hidden .*m/.env.*--hidden.*1 that others may not read .*--private"
    with pytest.raises(ServeError, match=wanted), serving(tmp_path / "models", tmp_path / "index"):
        pass


def test_the_line_has_the_first_names_of_each_reason_and_escapes_them() -> None:
    left_out = LeftOut()
    for i in range(1200):
        left_out.add(Reason.HIDDEN, f".h{i}", "hidden")
    left_out.add(Reason.OUT, "m/\x1b[2Jnew\nline" + "x" * 500, "out")
    left_out.add(Reason.OUT, "m/\x1b[2Jnew\nline" + "x" * 500, "out, said once")
    line = left_out.line()
    assert left_out.count() == 1201
    assert line.startswith(
        "left out 1201 (-v names all): 1200 hidden ('.h0', '.h1', '.h2', …, --hidden serves them); 1 link"
    )
    assert line.isprintable()
    assert len(line) < 400


COMMAND = (sys.executable, "-m", "fusefs", "serve")


def said(*arguments: str | Path) -> tuple[str, str]:
    """What `fusefs serve` writes to stdout and stderr until it is ready."""
    with subprocess.Popen(
        [*COMMAND, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        url = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        rest, err = process.stdout.read(), process.stderr.read()
    assert process.returncode == 0, err
    return url + rest, err


@pytest.fixture
def untidy(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Something of each kind."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (models / "hollow").mkdir()
    (models / "m" / "void").mkdir()
    (models / "m" / "dangling").symlink_to("nowhere")
    (models / "m" / "out").symlink_to("/etc/passwd")
    (models / "m" / os.fsdecode(b"\xff\xfe")).write_bytes(b"x")
    (models / "m" / "mine").write_bytes(b"x")
    (models / "m" / "mine").chmod(0o600)
    return models


def test_one_line_without_v_says_what_is_left_out_and_why(untidy: Path) -> None:
    out, err = said(untidy, "--listen", "127.0.0.1:0")
    assert re.fullmatch(
        r"(http://127\.0\.0\.1:\d+)\n1 model; to mount one on the empty folder mnt:\n  fusefs mount \1/local/m mnt\n",
        out,
    )
    assert err.count("\n") == 1
    assert err.startswith("fusefs: warning: left out ")
    for what in (
        *("hidden", "--hidden", "keys", "--private", "1 that others may not read", "leavings of tools"),
        *("1 link that leads out ('m/out'", "1 link that leads nowhere ('m/dangling'", "1 name that no mount takes"),
        *("2 empty folders ('hollow', 'm/void')",),
    ):
        assert what in err, what


def test_v_names_all_that_is_left_out(untidy: Path) -> None:
    _, err = said(untidy, "--listen", "127.0.0.1:0", "-v")
    for name in [*KEYS, "notes.bak", ".env", ".docker", "dangling", "out"]:
        assert re.search(rf"{re.escape(name)}' is left out", err), name


def test_nothing_is_said_when_nothing_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_tree(tmp_path / "models" / "m", MODEL)
    assert said(tmp_path / "models", "--listen", "127.0.0.1:0")[1] == ""


def test_p10_listening_beyond_loopback_says_that_nobody_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_tree(tmp_path / "models" / "m", MODEL)
    _, err = said(tmp_path / "models", "--listen", "0.0.0.0:0")
    assert re.fullmatch(
        r"fusefs: warning: whoever can reach http://0\.0\.0\.0:\d+ may read all that is served \(--htpasswd\), "
        r"and what is sent can be read on the way \(--tls-cert\)\n",
        err,
    )


def test_what_is_left_out_is_logged_once(models: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fusefs")
    with serving(models, models.parent / "index") as running:
        for _ in range(3):
            running.client.manifest("local/m")
    assert caplog.text.count("id_rsa' is left out: it is named like a key") == 1

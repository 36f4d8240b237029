"""README.md, §5: model names."""

from __future__ import annotations

import pytest

from fusefs.errors import InvalidDigest, InvalidInput, InvalidName, InvalidSetting
from fusefs.values.digest import Digest
from fusefs.values.names import BaseUrl, Name, host_alone

HEX = "ab" * 32
DIGEST = Digest("sha256", HEX)


@pytest.mark.parametrize(
    ("text", "scheme", "host", "namespace", "model", "tag"),
    [
        ("mm", "https", "registry.ollama.ai", "library", "mm", "latest"),
        ("mm:tt", "https", "registry.ollama.ai", "library", "mm", "tt"),
        ("nn/mm", "https", "registry.ollama.ai", "nn", "mm", "latest"),
        ("hh/nn/mm", "https", "hh", "nn", "mm", "latest"),
        ("h/n/m:t", "https", "h", "n", "m", "t"),
        ("_why/_the/_lucky:_stiff", "https", "_why", "_the", "_lucky", "_stiff"),
        ("host:https/namespace/model:tag", "https", "host:https", "namespace", "model", "tag"),
        ("http://127.0.0.1:8080/local/all-minilm:latest", "http", "127.0.0.1:8080", "local", "all-minilm", "latest"),
        ("https://h/n/m", "https", "h", "n", "m", "latest"),
        ("https+insecure://h/n/m:t", "https+insecure", "h", "n", "m", "t"),
        ("http://registry.ollama.ai/m", "http", "registry.ollama.ai", "library", "m", "latest"),
        ("HTTP://h/n/m", "http", "h", "n", "m", "latest"),
        ("Https+Insecure://h/n/m", "https+insecure", "h", "n", "m", "latest"),
        ("http://127.0.0.1:8080/local/m/", "http", "127.0.0.1:8080", "local", "m", "latest"),
        ("http://[::1]:8081/local/tiny", "http", "[::1]:8081", "local", "tiny", "latest"),
        ("https://[FD00::1]/n/m:t", "https", "[FD00::1]", "n", "m", "t"),
        ("[::1]:8081/n/m:t", "oci", "[::1]:8081", "n", "m", "t"),
        ("llama3.2:1b", "https", "registry.ollama.ai", "library", "llama3.2", "1b"),
        ("a.b.c/n-n/m.m:t.t", "https", "a.b.c", "n-n", "m.m", "t.t"),
        ("H/N/M:T", "https", "H", "N", "M", "T"),
        ("hh:80/nn/mm", "https", "hh:80", "nn", "mm", "latest"),
        ("h.h/n/m:t", "https", "h.h", "n", "m", "t"),
    ],
)
def test_valid_names_and_their_defaults(
    text: str, scheme: str, host: str, namespace: str, model: str, tag: str
) -> None:
    name = Name.parse(text)
    assert (name.scheme, *name.path) == (scheme, host, namespace, model, tag)
    assert name.digest is None
    assert Name.parse(str(name)) == name


def test_a_digest_pins_the_manifest() -> None:
    for text in (f"m@sha256:{HEX}", f"h/n/m:t@sha256-{HEX}", f"http://h/n/m@sha256:{HEX.upper()}"):
        name = Name.parse(text)
        assert name.digest == DIGEST
        assert Name.parse(str(name)) == name


@pytest.mark.parametrize(
    "text",
    [
        "-hh/nn/mm:tt",
        "hh/-nn/mm:tt",
        "hh/nn/-mm:tt",
        "hh/nn/mm:-tt",
        ".hh/nn/mm",
        "hh/nn/.mm",
        "hh/nn/mm:.tt",
        "hh/N.n/mm",
        "host/name:space/model:tag",
        "//",
        "/",
        "a/B/c/d",
        "h/n/m/.t",
        "%/%/%/%",
        "mm:",
        "mm:tt:uu",
        "/nn/mm",
        "//mm",
        "hh//mm",
        "nn/",
        "hh/nn/",
        ":tt",
        "hh/nn/:tt",
        "m m",
        "m\n",
        "\nm",
        "m\x00",
        "m\\n",
        "..",
        "../m",
        "h/../m",
        "h/n/..",
        "h/n/m:..",
        "modèle",
        "m?x=1",
        "m#x",
        "m%2e",
        "user:pass/n/m:t:u",
        "n/m:" + "t" * 81,
        "h/n/m:" + "t" * 129,
        "n/" + "m" * 81,
        "h/n/" + "M" * 81,
        "h/" + "n/" * 127 + "mm",
        "n" * 81 + "/m",
        "h/" + "N" * 81 + "/m",
        "h" * 351 + "/n/m",
        "http://m",
        "http://h:8080/",
        "http://[::1]:8081",
        "http://[::1::2]/n/m",
        "http://[z]/n/m",
        "http://[1.2.3.4]/n/m",
        "http://[::1/n/m",
        "http://::1]/n/m",
        "http://h/n/m//",
        "http://h//m",
        "127.0.0.1:8080",
        "localhost:8080",
    ],
)
def test_invalid_names(text: str) -> None:
    with pytest.raises(InvalidName):
        Name.parse(text)


@pytest.mark.parametrize("text", ["", "://", "http://", "https+insecure://", "://m"])
def test_a_missing_name_is_called_that(text: str) -> None:
    with pytest.raises(InvalidName, match="invalid or missing name"):
        Name.parse(text)


@pytest.mark.parametrize("text", ["http+insecure://m", "ftp://m", "file:///etc/passwd", "h/n/m://x"])
def test_an_unsupported_scheme_is_called_that(text: str) -> None:
    with pytest.raises(InvalidName, match="unsupported scheme"):
        Name.parse(text)


@pytest.mark.parametrize("scheme", ["git", "kaggle", "ftp"])
def test_who_writes_another_scheme_is_told_which_kinds_of_source_there_are(scheme: str) -> None:
    with pytest.raises(InvalidName) as raised:
        Name.parse(f"{scheme}://owner/model")
    text = str(raised.value)
    assert text.startswith(f"unsupported scheme '{scheme}': a source is a model of a registry")
    assert "http, https, https+insecure; of the Hugging Face Hub, as hf://OWNER/MODEL; or a folder of this" in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("text", "instead"),
    [
        ("oras://h/n/m", "write oci:// in its place"),
        ("ollama://llama3.2:1b", "written without a scheme, as llama3.2:1b"),
        ("hf://owner/model", "no model of a registry"),
        ("modelscope://owner/model", "modelscope download"),
        ("ngc://org/model:1", "ngc registry model download-version"),
    ],
)
def test_who_writes_another_programs_scheme_is_told_what_to_write(text: str, instead: str) -> None:
    with pytest.raises(InvalidName, match=instead) as raised:
        Name.parse(text)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "text", ["@t", "m@d", "m@", "@sha256:deadbeef", "m@sha256:deadbeef", "h/n/m:t@sha256-1", f"m@sha256:{HEX}0", "@"]
)
def test_an_invalid_digest_is_called_that(text: str) -> None:
    with pytest.raises(InvalidDigest, match="invalid digest"):
        Name.parse(text)


def test_a_digest_alone_is_no_name() -> None:
    with pytest.raises(InvalidInput):
        Name.parse(f"@sha256:{HEX}")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("h" * 350 + "/n/m:t", 0),
        ("h/" + "n" * 80 + "/m:t", 1),
        ("h/n/" + "m" * 80 + ":t", 2),
        ("h/n/m:" + "t" * 80, 3),
    ],
)
def test_the_longest_parts_are_valid(text: str, part: int) -> None:
    assert len(Name.parse(text).path[part]) == (350 if part == 0 else 80)


def test_names_compare_without_case_and_keep_it_as_written() -> None:
    one, two = Name.parse("h/n/m:t"), Name.parse("H/N/M:T")
    assert one.key == two.key
    assert two.path == ("H", "N", "M", "T")


@pytest.mark.parametrize(
    "text", ["m", "n/m:t", "h/n/m", "m:t", "http://h/n/m:t", f"h/n/m:t@sha256:{HEX}", "h/n/m/t", ""]
)
def test_a_qualified_name_leaves_nothing_out(text: str) -> None:
    with pytest.raises(InvalidName):
        Name.parse_qualified(text)


def test_a_qualified_name_is_taken_as_it_is() -> None:
    assert Name.parse_qualified("H/n/m:T").path == ("H", "n", "m", "T")


@pytest.mark.parametrize("part", ["..", ".", "", "a/b", "a@b", "a:b:c", "-a", "a b"])
@pytest.mark.parametrize("position", range(4))
def test_p10_parts_of_a_path_must_be_parts_of_a_name(part: str, position: int) -> None:
    parts = ["h", "n", "m", "t"]
    parts[position] = part
    if (part, position) == ("a:b:c", 0):
        assert Name.from_path(*parts).path == tuple(parts)  # a host may hold colons
        return
    with pytest.raises(InvalidInput):
        Name.from_path(*parts)


@pytest.mark.parametrize(
    "text",
    [
        "http://user:hidden@h/n/m",
        "http://user:hidden@h:8080",
        "https://user:hidden@h/n/m:t@sha256:" + HEX,
        "http://user:hid/hidden@h/n/m",
        "http://user:hid@hidden@h/n/m",
        "user:hidden@h/n/m",
        "http:/user:hidden@h/n/m",
    ],
)
def test_p10_a_password_in_a_name_is_refused_without_being_shown(text: str) -> None:
    for read in (Name.parse, host_alone):
        with pytest.raises(InvalidName, match="a user and a password have no place in a name") as caught:
            read(text)
        assert "hid" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("HTTP://MyServer/", "http://myserver"),
        ("https+insecure://[::1]:8081", "https+insecure://[::1]:8081"),
        ("http://m", "http://m"),
        ("oci://Registry.example:5000/", "https://registry.example:5000"),
        ("oci://localhost:5000", "oci://localhost:5000"),
        ("oci+http://m", "http://m"),
    ],
)
def test_a_host_alone_is_told_from_a_model(text: str, host: str) -> None:
    assert str(host_alone(text)) == host
    with pytest.raises(InvalidName, match="names a host and no model"):
        Name.parse(text)


@pytest.mark.parametrize(
    "text", ["m", "h/n/m", "http://h/m", "http://h/n/m/", "docker://ubuntu", f"http://h@sha256:{HEX}", "m:t"]
)
def test_what_names_more_than_a_host_is_no_host_alone(text: str) -> None:
    assert host_alone(text) is None


@pytest.mark.parametrize("text", ["http://h:port", "https://llama3.2:1b", "http://[::z]", "http://h:0", "http://-h"])
def test_a_host_alone_that_cannot_be_one_is_called_that(text: str) -> None:
    with pytest.raises(InvalidName, match="invalid host"):
        host_alone(text)


@pytest.mark.parametrize("text", ["http://u:hid/hidden@h", "ftp://u:hidden@h", "http://u:hidden@h:1/x"])
def test_p10_a_mirror_with_a_password_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        BaseUrl.parse(text)
    assert "hid" not in str(caught.value)


def test_a_mirror_is_written_as_a_browser_does() -> None:
    assert str(BaseUrl.parse("HTTPS://Mirror.Example:5000/")) == "https://mirror.example:5000"

"""OCI distribution specification 1.1, "Pulling manifests": names on any registry; and Docker's short forms of them."""

from __future__ import annotations

import pytest

from fusefs.errors import InvalidName
from fusefs.values.digest import Digest
from fusefs.values.names import Name, host_alone

DIGEST = Digest.of(b"")
TEN = "a/b.c/d_e/f__g/h-i/j---k/0/1a/a1/z"


@pytest.mark.parametrize(
    ("text", "scheme", "host", "repository", "tag"),
    [
        ("oci://ghcr.io/org/team/model:v1", "https", "ghcr.io", "org/team/model", "v1"),
        ("OCI://ghcr.io/org/model", "https", "ghcr.io", "org/model", "latest"),
        (f"oci://h:5000/{TEN}:v1", "https", "h:5000", TEN, "v1"),
        ("oci://h/flat:v1", "https", "h", "flat", "v1"),
        ("oci://h/flat/", "https", "h", "flat", "latest"),
        ("oci://[fd00::1]:5000/a/b/c:t", "https", "[fd00::1]:5000", "a/b/c", "t"),
        ("oci+http://h:5000/flat:v1", "http", "h:5000", "flat", "v1"),
        ("http://h:5000/flat:v1", "http", "h:5000", "flat", "v1"),
        ("https://h/a/b/c/d", "https", "h", "a/b/c/d", "latest"),
        ("https+insecure://h/flat", "https+insecure", "h", "flat", "latest"),
        ("h:5000/flat:v1", "https", "h:5000", "flat", "v1"),
        ("registry.example.org/flat", "https", "registry.example.org", "flat", "latest"),
        ("[fd00::1]/flat:v1", "https", "[fd00::1]", "flat", "v1"),
        ("a/b/c/d:v1", "https", "a", "b/c/d", "v1"),
        ("registry.ollama.ai/a.b/c:v1", "https", "registry.ollama.ai", "a.b/c", "v1"),
        ("registry.ollama.ai/a/b:" + "t" * 100, "https", "registry.ollama.ai", "a/b", "t" * 100),
        ("h/n.n/m", "https", "h", "n.n/m", "latest"),
        ("oci://h/a/b:" + "T" * 128, "https", "h", "a/b", "T" * 128),
        ("h/a/b:" + "t" * 128, "https", "h", "a/b", "t" * 128),
        ("oci://h/" + "m" * 255, "https", "h", "m" * 255, "latest"),
        ("oci://h/" + "n/" * 127 + "m", "https", "h", "n/" * 127 + "m", "latest"),
    ],
)
def test_a_repository_is_as_deep_as_its_registry_likes(
    text: str, scheme: str, host: str, repository: str, tag: str
) -> None:
    name = Name.parse(text)
    assert (name.scheme, name.host, name.repository, name.tag, name.digest) == (scheme, host, repository, tag, None)
    assert Name.parse(str(name)) == name
    assert Name.parse(name.short).key == name.key
    assert Name.from_path(*name.path).key == name.key


@pytest.mark.parametrize(
    ("text", "repository"),
    [
        ("docker://ubuntu", "library/ubuntu"),
        ("docker://ai/smollm2:360M-Q4_K_M", "ai/smollm2"),
        ("docker://docker.io/ubuntu", "library/ubuntu"),
        ("docker://docker.io/ai/smollm2", "ai/smollm2"),
        ("docker://index.docker.io/ai/smollm2", "ai/smollm2"),
        ("docker.io/ai/smollm2", "ai/smollm2"),
        ("docker.io/ubuntu", "library/ubuntu"),
        ("oci://registry-1.docker.io/ai/smollm2", "ai/smollm2"),
        ("oci://Docker.io/a/b/c", "a/b/c"),
    ],
)
def test_docker_hub_has_one_name_whatever_it_is_called(text: str, repository: str) -> None:
    name = Name.parse(text)
    assert (name.scheme, name.host, name.repository) == ("https", "docker.io", repository)
    assert Name.parse(str(name)) == name
    assert host_alone(text) is None


@pytest.mark.parametrize(
    ("text", "host", "repository"),
    [
        ("docker://ghcr.io/a/b/c:v1", "ghcr.io", "a/b/c"),
        ("docker://h:5000/flat", "h:5000", "flat"),
        ("docker://localhost/flat", "localhost", "flat"),
    ],
)
def test_docker_takes_for_a_host_what_has_a_dot_or_a_port(text: str, host: str, repository: str) -> None:
    assert (Name.parse(text).host, Name.parse(text).repository) == (host, repository)


@pytest.mark.parametrize(
    "text",
    ["oci://localhost:5000/flat:v1", "localhost:5000/flat:v1", "127.0.0.1:5000/a/b:v1", "docker://[::1]:5000/a/b/c:v1"],
)
def test_of_this_machine_plain_http_is_as_good(text: str) -> None:
    name = Name.parse(text)
    assert name.scheme == "oci"
    assert Name.parse(str(name)) == name


def test_who_writes_https_gets_tls_on_this_machine_too() -> None:
    name = Name.parse("https://localhost:5000/flat:v1")
    assert name.scheme == "https"
    assert Name.parse(str(name)) == name


def test_a_digest_pins_the_manifest() -> None:
    for text in (f"oci://h/a/b/c@{DIGEST}", f"oci://h/a/b/c:v1@{DIGEST}", f"h:1/flat@{DIGEST}", f"docker://u@{DIGEST}"):
        name = Name.parse(text)
        assert name.digest == DIGEST
        assert Name.parse(str(name)) == name


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("oci://h/Foo:v1", "the OCI specification has no capital letters in a repository, want 'foo'"),
        ("oci://h/Team/model", "no capital letters in a repository, want 'team'"),
        ("h:5000/Flat:v1", "no capital letters"),
        ("h/a/B/c", "no capital letters"),
        ("oci://h/a..b/c", "single ., _, __ or - between them"),
        ("oci://h/a___b", "between them"),
        ("oci://h/-a", "between them"),
        ("oci://h/a-/b", "between them"),
        ("oci://h/../b", "between them"),
        ("oci://h/a+b/c", "between them"),
        ("oci://h/a%2fb", "between them"),
        ("oci://h/mod\u00e8le", "between them"),
        ("oci://h/" + "m" * 256, "longer than 255 characters"),
        ("oci://h/m:" + "t" * 129, "at most 128 letters"),
        ("oci://h/m:.t", "invalid tag"),
        ("oci://h//m", "an empty part"),
        ("oci://h/m:", "an empty part"),
        ("oci://h/m//", "an empty part"),
        ("oci://-h/m", "invalid host"),
        ("oci://[::z]/m", "invalid host"),
        ("oci://h:5000", "names a host and no model"),
        ("docker://127.0.0.1:5000", "names a host and no model"),
        ("oci://u:p@h/m", "a user and a password have no place in a name"),
    ],
)
def test_what_the_specification_has_not_is_refused_with_its_rule(text: str, reason: str) -> None:
    with pytest.raises(InvalidName, match=reason) as caught:
        Name.parse(text)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("text", "folder"),
    [
        ("oci://h/a/b:t", ("h", "a", "b", "t")),
        ("oci://h/flat:t", ("h", "+", "flat", "t")),
        ("oci://h/a/b/c:t", ("h", "a+b", "c", "t")),
        ("oci://h/a.b/c:t", ("h", "a.b", "c", "t")),
        ("docker://u:t", ("docker.io", "library", "u", "t")),
    ],
)
def test_the_namespace_is_one_folder_and_where_ollama_has_it_if_it_can_be(text: str, folder: tuple[str, ...]) -> None:
    assert Name.parse(text).path == folder


@pytest.mark.parametrize(
    "path",
    [
        ("registry.ollama.ai", "+", "m", "t"),
        ("registry-1.docker.io", "a", "b", "t"),
        ("docker.io", "+", "b", "t"),
        ("h", "++", "m", "t"),
        ("h", "a+", "m", "t"),
        ("h", "A+b", "m", "t"),
        ("h", "a+..", "m", "t"),
        ("h", "+", "+", "t"),
        ("h", "+", "M", "t"),
    ],
)
def test_p10_a_folder_that_no_name_has_is_no_name(path: tuple[str, str, str, str]) -> None:
    """Two folders of one name would be two answers to one question."""
    with pytest.raises(InvalidName):
        Name.from_path(*path)

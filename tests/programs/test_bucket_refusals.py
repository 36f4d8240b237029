"""What the server of a bucket refuses is one line with what to do, and is not asked again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.loopback_server import LoopbackServer
from tests.marks import one_soon

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.server import BaseHTTPRequestHandler

    from tests.programs.world import World

REFUSALS = [
    (404, "NoSuchBucket", "", "there is no such bucket"),
    (400, "ExpiredToken", "", "the credentials have expired"),
    (403, "RequestTimeTooSkewed", "", "the clock of this machine is wrong"),
    (403, "InvalidAccessKeyId", "", "does not know this key"),
    (403, "SignatureDoesNotMatch", "", "the secret does not belong to the key"),
    (403, "AccessDenied", "", "these credentials may not read it"),
    (400, "AuthorizationHeaderMalformed", "<Region>eu-west-1</Region>", "set AWS_REGION=eu-west-1"),
    (301, "PermanentRedirect", "<Endpoint>models.s3.eu-west-1.amazonaws.com</Endpoint>", "set AWS_REGION"),
]
"""Source: Amazon S3 API, "Error responses", "List of error codes"."""


class Refusing:
    """Refuses everything; which refusal the name of the bucket says."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.server = LoopbackServer(self._handle)

    def _handle(self, request: BaseHTTPRequestHandler) -> None:
        self.asked.append(request.path)
        status, code, more, _ = REFUSALS[int(request.path.split("/")[1].removeprefix("refused-"))]
        body = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code>{more}</Error>'.encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/xml")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(body)


@pytest.fixture(scope="module")
def refusing() -> Iterator[Refusing]:
    made = Refusing()
    made.server.start()
    yield made
    made.server.stop()


@pytest.mark.parametrize("number", one_soon(list(range(len(REFUSALS)))))
def test_a_refusal_of_a_bucket_is_one_line_with_its_remedy(world: World, refusing: Refusing, number: int) -> None:
    refusing.asked.clear()
    env = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{refusing.server.port}",
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": "no secret at all",
    }
    failed = world.fusefs("pull", f"s3://refused-{number}/llama", "--timeout", "50s", env=env, code=1).stderr
    assert failed.count("\n") == 1, failed
    assert REFUSALS[number][3] in failed
    assert "no secret at all" not in failed
    assert len(refusing.asked) <= 4, "waiting does not help"


@pytest.mark.slow
def test_without_credentials_one_line_says_where_they_could_be(world: World, refusing: Refusing) -> None:
    """The machine's own metadata service is asked last, and is not there."""
    env = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{refusing.server.port}",
        "AWS_METADATA_ENDPOINT": "http://127.0.0.1:9",
    }
    failed = world.fusefs("pull", "s3://models/llama", "--timeout", "50s", env=env, code=1).stderr
    assert failed.count("\n") == 1, failed
    assert "no credentials were found; set AWS_ACCESS_KEY_ID" in failed

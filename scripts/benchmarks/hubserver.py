"""The scripted Hub of the tests as a program: `hubserver FILE` serves it as the one file of the model `org/bench`.

It prints a line of JSON when it is ready: the address, and the file's hash and size in the Xet store.  What it has sent
since its start, in bytes by the kind of request, stands at `/-/sent`.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.hub.origin import KINDS
from tests.hub.scriptedhub import ScriptedHub
from tests.wire_faults import Answer

if TYPE_CHECKING:
    from tests.faulty_registry import Request

REPOSITORY = "org/bench"


def main() -> None:
    path = Path(sys.argv[1])
    with ScriptedHub() as hub:
        repository = hub.add(REPOSITORY, {path.name: path.read_bytes()})
        answering = hub.endpoint.answering

        def answer(request: Request) -> Answer:
            if request.path == "/-/sent":
                return Answer(200, json.dumps({kind: hub.sent(kind) for kind in KINDS}).encode())
            return answering(request)

        hub.endpoint.answering = answer
        packed = repository.commits[repository.commit].files[path.name].packed
        assert packed is not None
        print(json.dumps({"url": hub.url, "hash": packed.hash, "size": packed.size}), flush=True)
        signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    main()

"""Credential helpers: programs `docker-credential-<name>` that keep passwords for Docker, podman and others.

A helper is somebody else's program: it may hang, and say anything of any length.  What goes wrong is one line, which
shows nothing of what it said but the message with which it failed.
Source: docker/docker-credential-helpers, README.md ("Development") and `credentials/error.go`.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import time

from fusefs.errors import InvalidSetting
from fusefs.sources.registry.dockerconfig import Login, login_of
from fusefs.values.printable import line_of

PATIENCE = 15.0
"""Seconds that a helper may take: some ask a service of their cloud, or a key store that has to be started."""

MAX_ANSWER = 1 << 16
_STEP_MS = 100
_MAX_SHOWN = 80
_NOT_FOUND = "credentials not found"
"""What helpers say, and fail, when they have nothing for a server."""


def ask(name: str, server: str) -> Login | None:
    """What a helper has for a server; None when it has nothing.

    Raises:
        InvalidSetting: it cannot say.
    """
    status, answer = _run(name, "get", server.encode())
    if status != 0:
        text = line_of(answer.decode("utf-8", "replace"), _MAX_SHOWN)
        if _NOT_FOUND in text.lower():
            return None
        raise InvalidSetting(f"{_program(name)} failed: {text or f'status {status}'}")
    try:
        document = json.loads(answer)
        user, secret = document["Username"], document["Secret"]
        return login_of(user, secret) if isinstance(user, str) and isinstance(secret, str) and secret else None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InvalidSetting(f"{_program(name)} does not answer with user and password in JSON") from None


def store(name: str, server: str, user: str, password: str) -> None:
    """Have a helper keep a password.

    Raises:
        InvalidSetting: it does not.
    """
    _change(name, "store", json.dumps({"ServerURL": server, "Username": user, "Secret": password}).encode())


def erase(name: str, server: str) -> None:
    """Have a helper forget a password.

    Raises:
        InvalidSetting: it does not.
    """
    _change(name, "erase", server.encode())


def _change(name: str, verb: str, said: bytes) -> None:
    status, answer = _run(name, verb, said)
    if status != 0:
        text = line_of(answer.decode("utf-8", "replace"), _MAX_SHOWN)
        raise InvalidSetting(f"{_program(name)} failed: {text or f'status {status}'}")


def _program(name: str) -> str:
    return f"docker-credential-{name}"


def _run(name: str, verb: str, said: bytes) -> tuple[int, bytes]:
    """Exit status and answer of a helper, which is ended when it takes too long or says too much."""
    try:
        process = subprocess.Popen(  # noqa: S603 # the name is one word, and comes from a file that nobody else writes
            [_program(name), verb],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # so that what it starts is ended with it
        )
    except OSError as exc:
        why = "is not installed" if isinstance(exc, FileNotFoundError) else f"cannot be started ({exc.strerror})"
        raise InvalidSetting(f"{_program(name)} {why}") from exc
    assert process.stdin is not None
    assert process.stdout is not None
    until = time.monotonic() + PATIENCE
    try:
        os.set_blocking(process.stdin.fileno(), False)
        with contextlib.suppress(OSError):  # it may not want to know, and the answer tells
            os.write(process.stdin.fileno(), said)
        with contextlib.suppress(OSError):
            process.stdin.close()
        answer = _read(process, until)
        status = process.wait(max(0.0, until - time.monotonic()))
    except (subprocess.TimeoutExpired, TimeoutError):
        raise InvalidSetting(f"{_program(name)} gave no answer in {PATIENCE:g} s") from None
    finally:
        _end(process)
        process.wait()
        process.stdout.close()
    if len(answer) > MAX_ANSWER:
        raise InvalidSetting(f"{_program(name)} answers with more than {MAX_ANSWER} bytes")
    return status, answer


def _read(process: subprocess.Popen[bytes], until: float) -> bytes:
    """What it says until it ends; a child of its may hold the pipe for longer.

    Raises:
        TimeoutError: it does not end.
    """
    assert process.stdout is not None
    fd, answer = process.stdout.fileno(), b""
    poll = select.poll()  # `select` takes no descriptor above 1023
    poll.register(fd, select.POLLIN)
    while len(answer) <= MAX_ANSWER:
        over = process.poll() is not None
        if not poll.poll(0 if over else _STEP_MS):
            if over:
                return answer
            if time.monotonic() >= until:
                raise TimeoutError
            continue
        piece = os.read(fd, MAX_ANSWER)
        if not piece:
            return answer
        answer += piece
    _end(process)
    return answer


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it and what it has started.  Of one that has ended the number may be somebody else's."""
    if process.poll() is None:
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)

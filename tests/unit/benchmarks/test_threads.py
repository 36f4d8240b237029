"""CPU seconds by kind of thread, of a real process."""

from __future__ import annotations

import subprocess
import sys

import pytest

from scripts.benchmarks.threads import ENDED, LOOP, OTHERS, WORKERS, counted

PROGRAM = """
import os, sys, threading, time

def burn(seconds):
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass

def named(name, seconds, stay):
    if name:
        open(f"/proc/self/task/{threading.get_native_id()}/comm", "w").write(name)
    ready.wait()
    burn(seconds)
    done.wait()
    if stay:
        threading.Event().wait()

ready, done = threading.Barrier(4), threading.Barrier(4)
for words in (("some work", 0.4, True), ("", 0.2, True), ("some work", 0.3, False)):
    threads = threading.Thread(target=named, args=words, daemon=True)
    threads.start()
    if not words[2]:
        mortal = threads
print("begun", flush=True)
sys.stdin.readline()
ready.wait()
done.wait()
while os.path.exists(f"/proc/self/task/{mortal.native_id}"):  # it outlives its last line by a moment
    time.sleep(0.001)
print("done", flush=True)
sys.stdin.readline()
"""


@pytest.mark.slow
def test_cpu_seconds_are_told_apart_by_kind_of_thread() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        with counted(process.pid) as spent:
            process.stdin.write("go\n")
            assert process.stdout.readline() == "done\n"
        process.stdin.write("end\n")
    # A clock tick is 10 ms, and threads pass a barrier for nothing; a loop that waits spends next to nothing.
    assert 0.38 <= spent[WORKERS] < 0.5
    assert 0.18 <= spent[OTHERS] < 0.29
    assert 0.25 <= spent[ENDED] < 0.4
    assert spent[LOOP] < 0.1

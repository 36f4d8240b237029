import msgspec
import pytest

from fusefs.values import metrics
from fusefs.values.report import FileReport, MountReport, SourceState, StatusReport
from fusefs.values.wirereport import WireReport
from fusefs.view.table import Shape, picture, text_of

HALF = tuple([100] * 32 + [0] * 32)


def file(path: str, size: int = 1 << 20, state: str = "partial", presence: tuple[int, ...] = HALF) -> FileReport:
    return FileReport(
        path=path, digest=path, size=size, present=size * sum(presence) // 6400, state=state, presence=presence
    )


def mount(*files: FileReport) -> MountReport:
    return MountReport(
        mountpoint="/mnt/llama",
        pid=4711,
        sources=("registry.ollama.ai/library/llama3.2:1b",),
        cache_dir="/var/cache/fusefs",
        uptime=200,
        files=files,
        counters={"bytes_fetched": 1 << 20, "requests": 1},
    )


def text(report: StatusReport, shape: Shape) -> str:
    return "\n".join(map(text_of, picture(report, shape)))


def test_the_whole_picture_of_a_mount_at_80_columns() -> None:
    report = StatusReport((mount(file("model.gguf", 1321082688), file("template", 1429, "sealed", (100,) * 64)),))
    assert text(report, Shape(80)) == (
        "● /mnt/llama  registry.ollama.ai/library/llama3.2:1b     up 3 min 20 s, pid 4711\n"
        "  630 MiB of 1.2 GiB present · idle · fetched 1.0 MiB in 1 request · served 0 B\n"
        "  cache /var/cache/fusefs\n"
        "\n"
        "  FILE            SIZE  HERE  STATE    PARTS\n"
        "  model.gguf   1.2 GiB   50%  partial  ▕███████████████████▒                   ▏\n"
        "  template     1.4 KiB  100%  sealed   ▕███████████████████████████████████████▏"
    )


def test_a_source_that_ignores_range_is_named_with_what_follows_from_it() -> None:
    states = (SourceState(label="a.example"), SourceState(label="b.example", ignores_range=True))
    shown = text(StatusReport((msgspec.structs.replace(mount(), sources_state=states),)), Shape(80))
    assert "  b.example ignores Range: each file is read in one stream from its front" in shown.splitlines()
    assert "a.example" not in shown


def test_a_mirror_that_ignores_range_is_said_to_be_asked_for_whole_files() -> None:
    """No part of a file comes from it, so that nothing is read in one stream on its account."""
    states = (SourceState(label="cache.example", ignores_range=True, mirror=True),)
    shown = text(StatusReport((msgspec.structs.replace(mount(), sources_state=states),)), Shape(80))
    assert "  cache.example ignores Range: asked for whole files alone" in shown.splitlines()


def test_what_is_served_unproved_is_not_called_read_whole_first() -> None:
    files = [
        msgspec.structs.replace(file(state, state=state), proof="none") for state in ("unproved", "partial", "sealed")
    ]
    lines = text(StatusReport((mount(*files),)), Shape(120)).splitlines()
    assert (
        "  proof 2 files without a chunk list (read whole first) · 1 file without a chunk list (served unproved)"
    ) in lines


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_no_row_is_wider_than_the_terminal(width: int) -> None:
    rows = mount(file("a/" * 60 + "model-00001-of-00013.safetensors", 4_900_000_000, "quarantined"), file("x"))
    lines = text(StatusReport((rows,)), Shape(width)).splitlines()
    table = lines[lines.index("") :]
    assert len(table) == 4
    assert max(map(len, table)) <= max(width, 58)  # below that a bar would say nothing


def test_a_pipe_gets_paths_whole_and_every_file() -> None:
    path = "a/" * 100 + "model.safetensors"
    out = text(StatusReport((mount(file(path), *(file(f"t{i}") for i in range(300))),)), Shape())
    assert path in out
    assert sum("▕" in line for line in out.splitlines()) == 301


def test_of_many_files_those_where_something_happens_come_first() -> None:
    files = [file(f"a{i}", state="absent", presence=(0,) * 64) for i in range(100)]
    files += [file("busy"), file("lied", state="quarantined"), file("done", state="sealed", presence=(100,) * 64)]
    lines = text(StatusReport((mount(*files),)), Shape(100, files=4)).splitlines()
    rows = [line.split()[0] for line in lines[lines.index("") + 2 :]]
    assert rows[:3] == ["lied", "busy", "done"]
    assert lines[-1] == "  … and 99 more: 99 absent (--all shows them)"


def test_files_that_fit_keep_their_order() -> None:
    lines = text(StatusReport((mount(file("b", state="absent"), file("a")),)), Shape(100, files=2)).splitlines()
    assert [line.split()[0] for line in lines[-2:]] == ["b", "a"]


def test_two_paths_of_one_blob_count_once() -> None:
    one = file("one", 1 << 20)
    both = mount(one, msgspec.structs.replace(one, path="two"))
    assert "512 KiB of 1.0 MiB present" in text(StatusReport((both,)), Shape(80))


def test_trouble_stands_out() -> None:
    report = msgspec.structs.replace(
        mount(file("x")),
        last_error="reg: connection reset",
        counters={"retries": 2, "chunks_rejected": 1, "read_errors": 3},
        kernel={
            "read_ahead_kb": {"wanted": 256, "actual": 256, "why_not": ""},
            "max_background": {"wanted": 64, "actual": 12, "why_not": "Permission denied; only root may set it"},
        },
    )
    out = text(StatusReport((report,)), Shape(120))
    assert "2 retries" in out
    assert "1 chunk rejected" in out
    assert "3 read errors" in out
    assert "last error: reg: connection reset" in out
    assert "not tuned: max_background is 12, not 64: Permission denied; only root may set it" in out
    assert "read_ahead_kb" not in out


def test_status_says_how_the_kernel_is_answered_and_why_not_by_threads() -> None:
    def shown(wire: WireReport) -> str:
        return text(StatusReport((msgspec.structs.replace(mount(file("x")), wire=wire),)), Shape(120))

    assert "answered by" not in shown(WireReport()), "an older daemon does not say"
    assert "reads answered by 2 threads · killed readers end at once" in shown(WireReport(threads=2, interrupts=True))
    out = shown(WireReport(threads=2, interrupts=True, passthrough=True, native=2))
    assert "proved files read by the kernel itself, not counted as served · 2 files open so now" in out
    out = shown(WireReport(threads=2, no_passthrough="--no-passthrough"))
    assert "no passthrough: --no-passthrough" in out
    out = shown(WireReport(why_not="Operation not permitted"))
    assert "one thread answers, and a killed reader may wait: Operation not permitted" in out


@pytest.mark.parametrize("counter", [one for one in metrics.COUNTERS if one.noted], ids=lambda one: one.name)
def test_a_counter_that_the_table_gives_words_for_is_shown_when_there_are_any(counter: metrics.Counter) -> None:
    quiet = text(StatusReport((mount(file("x")),)), Shape(200))
    counters = mount(file("x")).counters | {counter.name: 5 << 20}
    loud = text(StatusReport((msgspec.structs.replace(mount(file("x")), counters=counters),)), Shape(200))
    assert counter.noted is not None
    said = counter.noted[1].format("5.0 MiB" if counter.unit == "bytes" else 5 << 20)
    assert said in loud
    assert said not in quiet


def test_a_mount_without_a_daemon_says_what_to_do() -> None:
    dead = MountReport(mountpoint="/mnt/x", state="dead", sources=("m:1",), problem="its daemon died; clean up")
    assert text(StatusReport((dead,)), Shape(80)) == "✗ /mnt/x  m:1\n  its daemon died; clean up"


def test_names_from_the_network_cannot_paint_the_screen() -> None:
    assert "\x1b" not in text(StatusReport((mount(file("a\x1b[31mb")),)), Shape(80))


def test_no_mounts() -> None:
    assert text(StatusReport(), Shape(80)) == "nothing is mounted"

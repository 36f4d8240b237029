"""What a pull or a verification came to, in a line or two."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusefs.values import metrics
from fusefs.values.report import PULLED
from fusefs.view import words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusefs.values.report import Item, PullReport, VerifyReport
    from fusefs.values.signedreport import SignedReport


def pulled(report: PullReport) -> list[str]:
    """`llama3.2:1b: 5 blobs, 1.2 GiB, sealed; fetched 812 MiB in 38 s`; nothing where a blob could not be had."""
    failed = {one.name for one in report.problems}
    good = [source for source in report.sources if source not in failed]
    if not good or any(blob.state not in PULLED for blob in report.blobs):
        return []
    unproved = sum(blob.state == "unproved" for blob in report.blobs)
    state = f"{unproved} of them unproved" if unproved else "sealed"
    fetched = report.counters.get(metrics.BYTES_FETCHED.name, 0)
    what = f"fetched {words.size(fetched)} in {words.seconds(report.seconds)}" if fetched else "nothing to fetch"
    size = words.size(sum(blob.size for blob in report.blobs))
    return [f"{', '.join(good)}: {_blobs(len(report.blobs))}, {size}, {state}; {what}"]


def kept(items: Sequence[Item]) -> str:
    """What a pull that was interrupted leaves for the next one: `12 MiB kept; run again to go on`."""
    return f"interrupted; {words.size(sum(item.done for item in items))} kept; run again to go on"


def not_pulled(report: PullReport) -> str:
    """Why the pull failed; empty when it did not."""
    failed = [blob for blob in report.blobs if blob.state not in PULLED]
    if report.problems:
        names = len(report.sources)
        if names == 1:
            return report.problems[0].problem
        more = f", and {len(failed)} of {_blobs(len(report.blobs))} of the others" if failed else ""
        return f"could not pull {len(report.problems)} of {names} models{more}; the first: {_problem(report)}"
    if not failed:
        return ""
    first = f"{failed[0].label}: {failed[0].problem}"
    if len(failed) == 1:
        return f"could not pull {first}"
    return f"could not pull {len(failed)} of {_blobs(len(report.blobs))}; the first: {first}"


def _problem(report: PullReport) -> str:
    first = report.problems[0]
    return first.problem if first.name in first.problem else f"{first.name}: {first.problem}"


def verified(report: VerifyReport) -> list[str]:
    """What was hashed, and a line for each blob about which there is something to say."""
    lines = [f"{blob.label}: {blob.problem}" for blob in report.blobs if blob.problem]
    checked = f"{words.size(report.checked)} in {_blobs(len(report.blobs))} checked in {words.seconds(report.seconds)}"
    wrong = sum(blob.state == "dropped" for blob in report.blobs)
    return [
        *lines,
        f"{report.cache_dir}: {checked}; " + (f"{_blobs(wrong)} damaged" if wrong else "nothing is damaged"),
    ]


def as_signed(report: SignedReport) -> list[str]:
    """`oci://host/model: 3 files, 86.7 MiB, as signed by key sha256:…`."""
    number = f"{report.files} file{'' if report.files == 1 else 's'}"
    return [f"{report.source}: {number}, {words.size(report.size)}, as signed by {report.signed}"]


def not_verified(report: VerifyReport) -> str:
    """What was wrong, and what comes of it; empty when nothing was."""
    wrong = [blob for blob in report.blobs if blob.state == "dropped"]
    if not wrong:
        return ""
    return f"{_blobs(len(wrong))} did not match; the damage was dropped, and `fusefs pull` or the next read mends it"


def _blobs(number: int) -> str:
    return f"{number} blob{'' if number == 1 else 's'}"

"""Steps: nothing without a hook, and all that a hook wants with one."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, get_args

import pytest

from fusefs.system.steps import Hook, Step, step

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_without_a_hook_a_step_is_one_object_that_swallows_nothing() -> None:
    assert step("data fsynced") is step("hole punched")
    with pytest.raises(OSError, match="disk"), step("data fsynced"):
        raise OSError("disk")


def test_a_hook_is_round_each_step_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    @contextmanager
    def hook(name: Step) -> Iterator[None]:
        seen.append(f"{name} begins")
        yield
        seen.append(f"{name} is over")

    monkeypatch.setattr(Hook, "armed", hook)
    with step("data fsynced"), step("chunk marked"):
        pass
    assert seen == ["data fsynced begins", "chunk marked begins", "chunk marked is over", "data fsynced is over"]


def test_no_two_steps_have_one_name() -> None:
    names = get_args(Step)
    assert len(names) == len(set(names)) >= 28

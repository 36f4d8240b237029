"""Every target, with inputs that are almost right: an error of our own tree or what is documented, and nothing else."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.target import Target, joined, split
from tests.fuzz.targets import TARGETS
from tests.property.mutations import mutated


@pytest.mark.parametrize("name", TARGETS)
def test_p10_every_seed_keeps_its_promises(name: str) -> None:
    for seed in TARGETS[name].seeds():
        assert len(seed) <= TARGETS[name].longest
        TARGETS[name].check(seed)


@pytest.mark.parametrize("name", TARGETS)
@given(st.data())
def test_p10_what_is_almost_right_keeps_its_promises(name: str, data: st.DataObject) -> None:
    TARGETS[name].check(data.draw(mutated(TARGETS[name])))


@given(st.binary(max_size=50).map(lambda raw: raw.replace(b"\0", b"")), st.binary(max_size=50))
def test_an_input_of_two_parts_comes_apart_as_it_was_joined(first: bytes, second: bytes) -> None:
    assert split(joined(first, second), 2) == [first, second]
    assert split(first, 2) == [first, b""]


def test_every_target_has_a_name_that_is_one_argument() -> None:
    assert all(name == target.name and name.replace("-", "a").isalnum() for name, target in TARGETS.items())
    assert all(isinstance(target, Target) and target.seeds() for target in TARGETS.values())


def test_the_targets_can_be_listed_without_atheris() -> None:
    code = "import sys; from tests.fuzz.targets import TARGETS; sys.exit('atheris' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)

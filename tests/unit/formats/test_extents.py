from __future__ import annotations

from fusefs.formats.extents import Extents


def test_a_byte_is_found_in_its_tensor_and_nowhere_else() -> None:
    extents = Extents.of(100, [(100, 110), (110, 120), (128, 129)])
    assert len(extents) == 3
    found = {off: extents.at(off) for off in range(-1, 140)}
    assert {off for off, index in found.items() if index == 0} == set(range(100, 110))
    assert {off for off, index in found.items() if index == 1} == set(range(110, 120))
    assert {off for off, index in found.items() if index == 2} == {128}


def test_a_file_without_tensors_has_no_tensor_anywhere() -> None:
    extents = Extents.of(100, [])
    assert len(extents) == 0
    assert extents.at(0) is None
    assert extents.at(100) is None

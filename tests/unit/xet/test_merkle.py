"""Merkle trees of Xet, against the reference hashes of xet-core (`aggregated_hashes.rs`, `test_correctness`)."""

from __future__ import annotations

import pytest

from fusefs.xet.merkle import Node, fold, group_length, is_cut, parent
from fusefs.xet.xethash import file_hash, hash_text, parse_hash

ONE = ("cfc5d07f6f03c29bbf424132963fe08d19a37d5757aaf520bf08119f05cd56d6", 100)
TWO = ("c3e67584b5c4fc2a89837ec39e40f2c8a6bb0b2987ac94cd4b31e5fbdd210a72", 200)
THREE = ("0d2beb91b9196929a5ddec9f6e306924ddf4a24268e3e59fd8464738d525af37", 300)
FOUR = ("adf8773496a9b7319b2e50dc98093f344053b17d8ad37100b9c07d9805988784", 400)
FIVE = ("4ac202caf347fc1e9c874b1ef6a1c5e619141eb775a6f43f0f0124ccd0060d9e", 500)
SIX = ("b3b28636f65c149ea52eb1f94669466f70f033b54cea792824c696ba6ef3c389", 600)
SEVEN = ("0e2c1a002aae913d2c0fc8ddfa4e9e14b7b311b3b0d458726d5d9f6a6318013c", 700)
NONE = ("0" * 64, 0)
EIGHT = [NONE, ONE, TWO, THREE, FOUR, FIVE, SIX, SEVEN]

REFERENCE = [
    ([NONE], "0" * 64, "638a6bc391964a85939d48f008e8bdbae6a7975e7ca2d87a3ce2492f4e4d8a4c"),
    ([ONE], ONE[0], "8e16257caa3fe079d484d872a8975264b2ff683b0d6db9028cc7c0f968a45661"),
    (
        [ONE, TWO, THREE],
        "71ec1275fca074724e2dd666921b3277c7cee603e4d025bcab2d4050015be2bc",
        "54e55dccc6653c612bdb5576c5d3cb34bb31bc4e100248abccf4c908b3ef7715",
    ),
    (
        [ONE] * 4,
        "89f2ada89ff8c96763c6b25010e6dd76a4c05b1466207633ea559acf2093211b",
        "2cdba690d0e09563596e0cda626d43eb4c96ef1e994fe72d9b2f5a83cfcd36dd",
    ),
    (
        [ONE, TWO, ONE, TWO],
        "90f8313ef12df385d237a067aded02562c35ded12116e32eba401dbc86c38031",
        "284ea045e5a579e99c21ec597c20de1fc0c09e7168162aac00db8f61b3d82dbb",
    ),
    (
        [ONE, TWO, ONE, TWO, THREE, FOUR],
        "52c826f99507aa05d0b45e9837fa1709e0485425cfbcb1e80db3905cf98b3ee9",
        "91d21684db364c8883ab8209fa5eb2e781cf07f37e1fa43e731c30839afe422f",
    ),
    (
        [NONE, ONE, NONE, ONE],
        "e1755c85be07fd6b7a8d7becc85e6d8c5f507f2a3d38b316bcb6f97855e72188",
        "207caf24fce045ac6d873b4c6186a5a435d600d103e1ae345e55ddf1f4b7f7ef",
    ),
    (
        EIGHT,
        "f62abe77e3fb9c954fe52b0028027ddc90c064c45951a4fd2211d87e5c0011db",
        "d1b068be5bbdb38992269e8efe61f601881e39f7a7585fd76883cc6ea5c23b44",
    ),
    (
        EIGHT * 8,
        "6554007c9b5d0a5e7918f79596a1b68815c1407535585435f5735db761f21b88",
        "a8640ab81d48854e00078e12b1ea8be5d90be0ffb5f73a15b7009981d093ddd8",
    ),
]


@pytest.mark.parametrize(("chunks", "xorb", "file"), REFERENCE)
def test_the_root_is_that_of_xet_core(chunks: list[tuple[str, int]], xorb: str, file: str) -> None:
    root = fold([Node(parse_hash(text), size) for text, size in chunks])
    assert hash_text(root.hash) == xorb
    assert hash_text(file_hash(root.hash)) == file
    assert root.size == sum(size for _, size in chunks)


def nodes(*cuts: int) -> list[Node]:
    """Nodes of one byte each; 1 for one whose hash is divisible by four."""
    return [Node(bytes([7] * 24 + [4 if cut else 5]) + bytes([index] * 7), 1) for index, cut in enumerate(cuts)]


@pytest.mark.parametrize(
    ("cuts", "length"),
    [
        ((0,), 1),
        ((0, 0), 2),
        ((1, 1), 2),
        ((0, 0, 0), 3),
        ((1, 1, 0, 0), 4),  # the first two end no group
        ((0, 0, 1, 0), 3),
        ((0, 0, 0, 1, 1), 4),
        ((0,) * 12, 9),
        ((0,) * 8 + (1, 1), 9),
    ],
)
def test_a_group_ends_with_a_cut_from_the_third_node_on_or_the_ninth(cuts: tuple[int, ...], length: int) -> None:
    found = nodes(*cuts)
    assert [is_cut(node) for node in found] == [bool(cut) for cut in cuts]
    assert group_length(found, 0) == length
    assert group_length(nodes(0, *cuts)[:1] + found, 1) == length


def test_a_tree_has_as_many_levels_as_it_needs() -> None:
    root = fold(nodes(*[0] * 82))
    assert (root.level, root.size) == (3, 82)  # 82 chunks, 10 parents, 2, 1
    assert fold(nodes(0)).level == 0


def test_nodes_that_were_folded_before_are_taken_as_they_are() -> None:
    """The first nine are a group whatever follows; the tenth and eleventh are what is left."""
    found = nodes(*[0] * 11)
    assert fold([parent(found[:9]), *found[9:]]) == fold(found)
    assert fold([parent(found[:9]), parent(found[9:])]) == fold(found)
    assert fold([parent(found[:8]), *found[8:]]) != fold(found)

"""Who owns what, against plain definitions and small graphs worked out by hand."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from neural_plasticity.anatomy.provenance import depends, features_behind, features_by_place, features_reached
from neural_plasticity.anatomy.shares import share

features = st.frozensets(st.integers(0, 20), max_size=6)


@given(st.lists(features, min_size=1, max_size=6))
def test_what_is_divided_is_disjoint_and_everybodys(behind):
    found = share(behind)
    if found.divided:
        owned = [set(own) for own in found.owned]
        assert all(owned)
        assert sum(map(len, owned)) == len(set().union(*owned))
        common = set(frozenset.intersection(*behind)) if len(behind) > 1 else set()
        for head, group in enumerate(found.groups):
            assert owned[group] == set(behind[head]) - common


def test_repeated_heads_form_groups_and_a_common_part_is_nobodys():
    one, two, common = frozenset({0, 1}), frozenset({2, 3}), frozenset({9})
    found = share([one | common, one | common, two | common])
    assert (found.owned, found.groups, found.mixed) == (((0, 1), (2, 3)), (0, 0, 1), False)
    assert not share([one, one]).divided  # the same for all: shared, nobody's own
    assert share([one, two, one | two]).mixed


def test_questions_to_autograd_on_a_graph_known_by_hand():
    source = torch.randn(2, 3, 6, requires_grad=True)
    heads = source.view(2, 3, 3, 2)
    mixed = heads.clone()
    mixed[..., 0, :] = heads[..., 0, :] + heads[..., 2, :]
    assert features_behind(mixed[..., 0, :], [source]) == [frozenset({0, 1, 4, 5})]
    assert features_behind(mixed[..., 1, :], [source]) == [frozenset({2, 3})]
    leaf = torch.randn(2, 3, 3, 2, requires_grad=True)
    read = leaf.flip(2).flatten(2)
    assert features_reached(leaf, 2, read) == [frozenset({4, 5}), frozenset({2, 3}), frozenset({0, 1})]
    assert features_reached(torch.randn(2, 2, requires_grad=True), 0, read) is None
    assert depends(read, [leaf, source]) == [True, False]


def test_the_last_token_is_told_from_the_others():
    source = torch.randn(2, 4, 6, requires_grad=True)
    score = (source[-1, -1, :3] * source[-1, 0, 3:]).sum()
    assert features_by_place(score, [source], tokens=8) == ([frozenset({0, 1, 2})], [frozenset({3, 4, 5})])
    assert features_by_place(score, [source], tokens=3) == ([frozenset()], [frozenset(range(6))])

"""The tree of token sequences against its definition by sets of prefixes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dataprophet.model.token_tree import token_tree

sequences = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=8), min_size=1, max_size=8)


@given(sequences)
def test_one_node_for_each_prefix_and_ancestors_alone_are_seen(lists):
    tree = token_tree([np.array(ids, np.int64) for ids in lists])
    prefixes = {tuple(ids[: end + 1]) for ids in lists for end in range(len(ids))}
    named = {}
    for ids, path in zip(lists, tree.paths, strict=True):
        assert len(path) == len(ids)
        for end, node in enumerate(path):
            assert named.setdefault(int(node), tuple(ids[: end + 1])) == tuple(ids[: end + 1])
    assert sorted(named) == list(range(len(tree)))
    assert set(named.values()) == prefixes
    assert len(named) == len(prefixes)
    for k, inner in named.items():
        for q, outer in named.items():
            assert (k <= q < tree.ends[k]) == (outer[: len(inner)] == inner)
        assert tree.depth[k] == len(inner) - 1
    longest = max(lists, key=len)
    assert tree.is_chain == all(longest[: len(ids)] == ids for ids in lists)


def test_large_ids_sort_as_numbers():
    tree = token_tree([np.array([300, 1]), np.array([2]), np.array([300, 70000]), np.array([300])])
    assert len(tree) == 4
    assert tree.depth.tolist() == [0, 0, 1, 1]

"""Which rank draws which prompts, and which one owns each."""

import pytest

from stages.engines.sampling.dealing import Dealing


@pytest.mark.parametrize("world_size, tensor_parallel", [(1, 1), (2, 1), (2, 2), (4, 2), (6, 3), (8, 4)])
def test_each_prompt_has_one_owner_which_draws_it(world_size, tensor_parallel):
    prompts = list(range(11))
    ranks = [Dealing(rank, world_size, tensor_parallel) for rank in range(world_size)]
    assert sorted(prompt for rank in ranks for prompt in rank.owned(prompts)) == prompts
    for number, rank in enumerate(ranks):
        first = ranks[number - number % tensor_parallel]
        assert rank.drawn(prompts) == first.drawn(prompts)
        assert set(rank.owned(prompts)) <= set(rank.drawn(prompts))
        assert rank.is_first == (number % tensor_parallel == 0)


def test_ranks_with_engines_of_their_own_take_every_world_size_th_prompt():
    assert [Dealing(rank, 3).owned("abcdefg") for rank in range(3)] == [["a", "d", "g"], ["b", "e"], ["c", "f"]]
    assert all(Dealing(rank, 3).drawn("abcdefg") == Dealing(rank, 3).owned("abcdefg") for rank in range(3))


def test_ranks_that_cannot_be_divided_are_an_error():
    with pytest.raises(ValueError, match="4 ranks cannot be divided into samplers of 3"):
        Dealing(0, 4, 3)

"""Where two sequences part."""

from agent_rl.common_prefix import common_prefix


def test_one_is_the_beginning_of_the_other() -> None:
    assert common_prefix((1, 2, 3), (1, 2, 3, 4)) == 3
    assert common_prefix((1, 2, 3, 4), (1, 2)) == 2
    assert common_prefix((), (1,)) == 0
    assert common_prefix((1,), ()) == 0
    assert common_prefix((1, 2), (1, 2)) == 2


def test_they_part_at_every_place() -> None:
    assert common_prefix((1, 2, 3, 4), (1, 2, 5, 4)) == 2
    for cut in range(40):
        a = tuple(range(40))
        b = (*range(cut), -1, *range(cut + 1, 60))
        assert common_prefix(a, b) == common_prefix(b, a) == cut


def test_texts_are_compared_by_characters() -> None:
    assert common_prefix("thinking: äb", "thinking: äc") == 11
    assert common_prefix("a", "b") == 0

"""Which reports there is time for."""

from control_plane.traffic.turns import Turns


def test_few_nodes_have_their_turn_each_time() -> None:
    """5 ms of CPU in 5 s is nothing."""
    turns = Turns(share=0.1)
    for second in range(0, 50, 5):
        assert turns.is_due("e1", second)
        turns.took("e1", 0.005, second)


def test_many_nodes_share_what_there_is() -> None:
    """100 Envoys whose reports cost 50 ms each get a tenth of a CPU, and all get equally much."""
    turns = Turns(share=0.1)
    read: dict[str, int] = {}
    for second in range(0, 600, 5):
        for number in range(100):
            node = f"e{number}"
            if turns.is_due(node, second + number / 100):
                turns.took(node, 0.05, second + number / 100)
                read[node] = read.get(node, 0) + 1

    assert 100 == len(read)
    assert max(read.values()) - min(read.values()) <= 1
    assert sum(read.values()) * 0.05 <= 0.1 * 600 + 100 * 0.05


def test_who_is_forgotten_leaves_its_time_to_the_others() -> None:
    """And costs nothing any more."""
    turns = Turns(share=0.1)
    for node in ("e1", "e2"):
        turns.took(node, 1.0, 0.0)
    assert 20.0 == turns.round_s

    turns.forget("e1")
    assert 10.0 == turns.round_s
    turns.forget("e2")
    turns.forget("e2")
    assert 0.0 == turns.round_s

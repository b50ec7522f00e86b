"""Laws of the OR-Set over reachable states of four replicas: semilattice, deltas, add-wins, nothing resurrected."""

from itertools import pairwise, permutations

from hypothesis import given
from hypothesis import strategies as st

from conjoin.crdt import CausalContext, Dot, MergeState, join, root_of
from conjoin.testing.histories import ELEMENTS, Sets, Step, play, set_scripts
from conjoin.wire import canonical


def reached(script: list[Step]) -> list[MergeState]:
    world = Sets()
    play(world, script)
    return [*world.states, *world.deltas[-3:], *world.copies[-2:]]


def everything(states: list[MergeState]) -> MergeState:
    total = MergeState()
    for state in states:
        total |= state
    return total


def visible_by_definition(state: MergeState) -> tuple[str, ...]:
    return tuple(
        sorted(
            {
                element
                for dot, element in state.adds.items()
                if not any(dot in covered for covered in state.tombstones.values())
            }
        )
    )


@given(set_scripts())
def test_join_is_commutative_and_idempotent(script: list[Step]) -> None:
    states = reached(script)
    for a in states:
        assert a | a == a
        assert a | MergeState() == a
        for b in states:
            assert a | b == b | a == join(a, b)
            assert (a | b).root() == (b | a).root()


@given(set_scripts(), st.data())
def test_join_is_associative(script: list[Step], data: st.DataObject) -> None:
    states = reached(script)
    for _ in range(5):
        a, b, c = (data.draw(st.sampled_from(states)) for _ in range(3))
        assert (a | b) | c == a | (b | c)


@given(set_scripts())
def test_join_is_the_least_state_above_both(script: list[Step]) -> None:
    states = reached(script)
    top = everything(states)
    for a in states:
        assert a <= top
        for b in states:
            assert a <= a | b
            assert b <= a | b
            assert (a | b == b) == (a <= b)
            assert a | b <= top


@given(set_scripts())
def test_visible_is_what_the_definition_says(script: list[Step]) -> None:
    for state in reached(script):
        assert state.visible() == visible_by_definition(state)
        assert state.root() == root_of(visible_by_definition(state))
        assert all(state.dots_of(element) for element in state.visible())


@given(set_scripts(), st.randoms(use_true_random=False))
def test_deltas_in_any_order_and_number_make_the_state(script: list[Step], chance: st.DataObject) -> None:
    world = Sets()
    play(world, script)
    top = everything(world.states)
    deltas = world.deltas * 2
    chance.shuffle(deltas)
    assert everything(deltas) == top


@given(set_scripts())
def test_missing_is_exactly_what_a_replica_lacks(script: list[Step]) -> None:
    world = Sets()
    play(world, script)
    for mine in world.states:
        for other in world.states:
            delta = other.missing(mine.context)
            assert mine | delta == mine | other
            assert mine.missing(mine.context) == MergeState()
            assert not any(dot in mine.context for dot in delta.context)
            assert other.missing(CausalContext()) == other


@given(set_scripts())
def test_the_context_is_the_dots_of_the_state(script: list[Step]) -> None:
    for state in reached(script):
        assert set(state.context) == set(state.adds) | set(state.tombstones)
        assert len(state.context) == len(state.adds) + len(state.tombstones)


@given(set_scripts(), st.integers(0, 3), st.sampled_from(ELEMENTS))
def test_a_concurrent_add_survives_a_retraction(script: list[Step], who: int, element: str) -> None:
    state = reached(script)[who]
    state |= state.add("left", element)
    retracted = state | state.retract("left", element)
    added = state | state.add("right", element)
    assert element not in retracted.visible()
    assert element in (retracted | added).visible()
    assert (retracted | added).dots_of(element) == (Dot("right", 0),)


@given(set_scripts(), st.integers(0, 3), st.sampled_from(ELEMENTS))
def test_adding_again_makes_visible_again(script: list[Step], who: int, element: str) -> None:
    state = reached(script)[who]
    for _ in range(3):
        state |= state.add("left", element)
        assert element in state.visible()
        state |= state.retract("left", element)
        assert element not in state.visible()
    again = state | state.add("right", element)
    assert element in again.visible()


@given(set_scripts())
def test_no_old_copy_resurrects_anything(script: list[Step]) -> None:
    world = Sets()
    play(world, script)
    top = everything(world.states)
    for old in [*world.copies, *world.deltas]:
        assert top | old == top
    for element in top.visible():
        gone = top | top.retract("left", element)
        for old in [*world.copies, *world.deltas, *world.states]:
            assert element not in (gone | old).visible()
            assert element not in (old | gone).visible()


@given(set_scripts())
def test_a_state_and_its_retractions_survive_the_wire(script: list[Step]) -> None:
    states = reached(script)
    for state in states:
        data = canonical.encode(state.to_json())
        back = MergeState.from_json(canonical.decode(data))
        assert back == state
        assert canonical.encode(back.to_json()) == data
        assert back.visible() == state.visible()
        assert hash(back) == hash(state)
    for a, b in pairwise(states):
        there = MergeState.from_json(canonical.decode(canonical.encode(b.to_json())))
        assert (a | there).root() == (a | b).root()


@given(set_scripts())
def test_root_differs_exactly_when_visible_differs(script: list[Step]) -> None:
    states = reached(script)
    for a in states:
        for b in states:
            assert (a.root() == b.root()) == (a.visible() == b.visible())


@given(set_scripts(steps_max=16))
def test_any_order_of_joins_gives_one_state(script: list[Step]) -> None:
    world = Sets()
    play(world, script)
    assert len({canonical.encode(everything(list(order)).to_json()) for order in permutations(world.states)}) == 1


dots = st.builds(Dot, st.sampled_from("abc"), st.integers(0, 12))


@given(st.sets(dots), st.sets(dots))
def test_a_causal_context_is_a_set_of_dots(left: set[Dot], right: set[Dot]) -> None:
    a, b = CausalContext.of(left), CausalContext.of(right)
    assert set(a) == left
    assert set(a | b) == left | right
    assert set(a - b) == left - right
    assert (a <= b) == (left <= right)
    assert (a == b) == (left == right)
    assert all((dot in a) == (dot in left) for dot in left | right)
    assert a | b == CausalContext.of(left | right)
    assert CausalContext.from_json(a.to_json()) == a
    assert len(a) == len(left)
    assert {Dot(name, n) for name, stop in a.vector.items() for n in range(stop)} | a.cloud == left
    for name in "abc":
        assert a.next_counter(name) == max((dot.counter + 1 for dot in left if dot.replica == name), default=0)

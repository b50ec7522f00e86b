"""The OR-Set step by step, and every malformed state that is refused."""

import pytest

from conjoin.crdt import CausalContext, Dot, MergeState, join, root_of
from conjoin.errors import CopiedReplicaError, MalformedOperationError, UnknownDigestError
from conjoin.wire.digest import sha256

X, Y = sorted([sha256(b"x"), sha256(b"y")])


def added(*elements: str, replica: str = "a") -> MergeState:
    state = MergeState()
    for element in elements:
        state |= state.add(replica, element)
    return state


def test_the_empty_state() -> None:
    assert MergeState().visible() == ()
    assert MergeState().root() == root_of([]) == sha256(b"")
    assert MergeState() | MergeState() == MergeState()
    assert MergeState.from_json(MergeState().to_json()) == MergeState()


def test_add_gives_a_delta_with_one_new_dot() -> None:
    state = added(X)
    delta = state.add("a", Y)
    assert dict(delta.adds) == {Dot("a", 1): Y}
    assert set(delta.context) == {Dot("a", 1)}
    assert state.visible() == (X,)
    assert (state | delta).visible() == (X, Y)


def test_retract_covers_every_live_dot_and_no_other() -> None:
    state = added(X, Y, X) | added(X, replica="b")
    delta = state.retract("c", X)
    assert dict(delta.tombstones) == {Dot("c", 0): frozenset({Dot("a", 0), Dot("a", 2), Dot("b", 0)})}
    after = state | delta
    assert after.visible() == (Y,)
    again = after | after.add("a", X)
    assert dict(again.retract("c", X).tombstones) == {Dot("c", 1): frozenset({Dot("a", 3)})}


@pytest.mark.parametrize("element", [X, "not a digest"])
def test_what_is_not_visible_cannot_be_retracted(element: str) -> None:
    with pytest.raises(UnknownDigestError):
        MergeState().retract("a", element)
    state = added(X)
    state |= state.retract("a", X)
    with pytest.raises(UnknownDigestError):
        state.retract("a", element)


def test_a_retraction_may_arrive_before_what_it_retracts() -> None:
    state = added(X)
    delta = state.retract("b", X)
    assert delta.visible() == ()
    assert (delta | state).visible() == ()


def test_the_same_content_twice_is_one_element() -> None:
    state = added(X, X) | added(X, replica="b")
    assert state.visible() == (X,)
    assert state.dots_of(X) == (Dot("a", 0), Dot("a", 1), Dot("b", 0))
    assert state.root() == added(X).root()


def test_one_dot_for_two_things_is_an_error() -> None:
    with pytest.raises(CopiedReplicaError, match="dot 0 of replica 'a'"):
        join(added(X), added(Y))
    base = added(X)
    with pytest.raises(CopiedReplicaError):
        join(base | base.add("a", Y), base | base.retract("a", X))


def test_a_state_cannot_be_changed() -> None:
    state = added(X)
    with pytest.raises(AttributeError):
        state.adds = {}  # type: ignore[misc]
    with pytest.raises(TypeError):
        state.adds[Dot("b", 0)] = X  # type: ignore[index]


@pytest.mark.parametrize(
    ("adds", "tombstones", "dots"),
    [
        ({Dot("a", 0): "x"}, {}, [Dot("a", 0)]),
        ({Dot("a", 0): X}, {}, []),
        ({}, {Dot("a", 0): frozenset({Dot("b", 0)})}, []),
        ({}, {Dot("a", 0): frozenset()}, [Dot("a", 0)]),
        ({Dot("a", 0): X}, {Dot("a", 0): frozenset({Dot("b", 0)})}, [Dot("a", 0)]),
    ],
)
def test_states_that_break_the_rules_are_refused(adds: dict, tombstones: dict, dots: list) -> None:
    with pytest.raises(MalformedOperationError):
        MergeState(adds, tombstones, CausalContext.of(dots))


def test_elements_are_digests() -> None:
    with pytest.raises(MalformedOperationError):
        MergeState().add("a", "my model")


@pytest.mark.parametrize("replica", ["", "x" * 257, None, 5])
def test_replica_names_have_a_form(replica: object) -> None:
    with pytest.raises(MalformedOperationError):
        MergeState().add(replica, X)  # type: ignore[arg-type]


GOOD = (added(X, Y) | added(X, Y).retract("b", X)).to_json()


def test_the_json_form() -> None:
    assert GOOD == {
        "adds": [["a", 0, X], ["a", 1, Y]],
        "context": {"a": [[0, 2]], "b": [[0, 1]]},
        "format": "conjoin/state/1",
        "tombstones": [["b", 0, [["a", 0]]]],
    }
    assert MergeState.from_json(GOOD).visible() == (Y,)


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        {**GOOD, "format": "conjoin/state/2"},
        {**GOOD, "more": 1},
        {**GOOD, "adds": {}},
        {**GOOD, "adds": [["a", 0]]},
        {**GOOD, "adds": [["a", 0, "x"]]},
        {**GOOD, "adds": [["a", -1, X]]},
        {**GOOD, "adds": [["a", True, X]]},
        {**GOOD, "adds": [["", 0, X]]},
        {**GOOD, "adds": list(reversed(GOOD["adds"]))},
        {**GOOD, "adds": [*GOOD["adds"], GOOD["adds"][1]]},
        {**GOOD, "tombstones": [["b", 0, []]]},
        {**GOOD, "tombstones": [["b", 0, [["a"]]]]},
        {**GOOD, "tombstones": [["b", 0, [["a", 0], ["a", 0]]]]},
        {**GOOD, "tombstones": [["b", 0, 7]]},
        {**GOOD, "context": []},
        {**GOOD, "context": {"a": [[0, 2]]}},
        {**GOOD, "context": {**GOOD["context"], "c": []}},
        {**GOOD, "context": {**GOOD["context"], "c": 1}},
        {**GOOD, "context": {**GOOD["context"], "c": [[1, 1]]}},
        {**GOOD, "context": {**GOOD["context"], "c": [[0, 1], [1, 2]]}},
        {**GOOD, "context": {**GOOD["context"], "c": [[2, 3], [0, 1]]}},
        {**GOOD, "context": {**GOOD["context"], "c": [[0, 1, 2]]}},
        {**GOOD, "context": {**GOOD["context"], "c": [[0, 2**53]]}},
        {**GOOD, "context": {**GOOD["context"], "c": [["0", "1"]]}},
    ],
)
def test_malformed_json_is_refused(value: object) -> None:
    with pytest.raises(MalformedOperationError):
        MergeState.from_json(value)


def test_a_huge_context_costs_nothing() -> None:
    context = CausalContext({"a": ((0, 2**50),)})
    assert Dot("a", 2**49) in context
    assert (context - CausalContext.of([Dot("a", 5)])).ranges["a"] == ((0, 5), (6, 2**50))
    assert context.next_counter("a") == 2**50
    assert "a" not in context
    assert context.vector == {"a": 2**50}
    assert context.cloud == frozenset()


def test_notebooks_show_the_visible_set() -> None:
    shown = added(X, Y)._repr_html_()
    assert X[:16] in shown
    assert "2 visible" in shown

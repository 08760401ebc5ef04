"""What many handlers want to write, made into few batches."""

from itertools import groupby
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from core.database.atoms import Atom, Change
from core.database.flush import Batch, halves, plan
from core.database.shapes import Shapes
from core.instants import to_instant
from tests.unit.database.writes.models import ALL, Part, Thing, atom, insert, shapes, upsert

FIELDS = ("a", "b", "at")


def names(batches: list[Batch]) -> list[list[str]]:
    return [[row.values["name"] for row in batch.rows] for batch in batches]


def test_rows_of_one_shape_become_one_batch_in_the_order_of_their_keys() -> None:
    """Whoever brought them, in whatever order they came and in whatever order the fields are named."""
    known = shapes()
    atoms = [
        atom(insert(known, Thing, name="c", a=1)),
        atom(insert(known, Thing, a=2, name="a")),
        atom(insert(known, Thing, name="b", a=3)),
    ]
    assert [["a", "b", "c"]] == names(plan(atoms, known))


def test_upserts_of_one_shape_become_one_batch_in_the_order_of_their_keys() -> None:
    """With and without a time; a key that comes twice is written once, as its newest row says."""
    known = shapes()
    for change in (ALL, Change("at"), Change("at", frozenset({"a", "at"}))):
        atoms = [atom(upsert(known, {"name": name, "a": 1, "at": 5}, change)) for name in "cab"]
        (batch,) = plan(atoms, known)
        assert (change, [["a", "b", "c"]]) == (batch.change, names([batch]))
        (batch,) = plan([*atoms, atom(upsert(known, {"name": "a", "a": 2, "at": 6}, change))], known)
        assert [2, 1, 1] == [row.values["a"] for row in batch.rows]


def test_of_rows_of_one_key_the_first_is_inserted() -> None:
    """The others have it as their twin, also across shapes, and each plan decides anew."""
    known = shapes()
    first, second = insert(known, Thing, name="x", a=1), insert(known, Thing, name="x", b=2)
    (batch,) = plan([atom(first), atom(second)], known)
    assert [first.rows[0]] == batch.rows
    assert first.rows[0] is second.rows[0].twin
    plan([atom(second)], known)
    assert second.rows[0].twin is None


def test_tables_come_in_the_order_of_their_foreign_keys() -> None:
    """Parents first, whatever came first."""
    known = shapes()
    batches = plan([atom(insert(known, Part, thing="x"), insert(known, Thing, name="x"))], known)
    assert [Thing, Part] == [batch.shape.model for batch in batches]


def test_rows_without_natural_key_keep_the_order_of_arrival() -> None:
    """None of them is a twin, even if they are equal; ids are read when one of them wants its own."""
    known = shapes()
    silent = insert(known, Part, thing="b")
    silent.wants_rows = False
    atoms = [atom(silent), atom(insert(known, Part, thing="a")), atom(insert(known, Part, thing="b"))]
    (batch,) = plan(atoms, known)
    assert ["b", "a", "b"] == [row.values["thing"] for row in batch.rows]
    assert batch.wants_rows
    assert not plan(atoms[:1], known)[0].wants_rows


def test_kinds_of_writes_on_one_key_take_steps() -> None:
    """An upsert after a create, and a create after that, are three statements; other keys take part in the first."""
    known = shapes()
    atoms = [
        atom(insert(known, Thing, name="x", a=1)),
        atom(upsert(known, {"name": "x", "a": 2})),
        atom(insert(known, Thing, name="x", a=3)),
        atom(insert(known, Thing, name="y", a=4)),
    ]
    batches = plan(atoms, known)
    assert [["x", "y"], ["x"], ["x"]] == names(batches)
    assert [None, ALL, None] == [batch.change for batch in batches]


def test_upserts_of_several_kinds_are_not_mistaken_for_one() -> None:
    """They differ in what they take over only; each of another key."""
    known = shapes()
    some = Change(None, frozenset({"a"}))
    atoms = [atom(upsert(known, {"name": name, "a": 1}, change)) for name, change in (("x", ALL), ("y", some))]
    assert {ALL: [["x"]], some: [["y"]]} == {batch.change: names([batch]) for batch in plan(atoms, known)}


def test_rows_known_by_different_keys_keep_their_order() -> None:
    """They may be one row, which nobody sees before they are written; a key that comes again is one batch more."""
    known = shapes()
    label = ("label",)
    atoms = [
        atom(upsert(known, {"name": "x", "label": "l", "a": 1})),
        atom(upsert(known, {"name": "z", "label": "l", "a": 2}, key=label)),
        atom(upsert(known, {"name": "x", "a": 3})),
        atom(insert(known, Thing, name="w", a=4)),
    ]
    batches = plan(atoms, known)
    assert [["x"], ["z"], ["w", "x"]] == [sorted(each) for each in _joined(batches)]
    assert [known.of(Thing, {"name": "", "label": "", "a": 0}, key) for key in (None, label)] == [
        batch.shape for batch in batches[:2]
    ]


def test_rows_that_are_asked_for_are_read_after_the_last_write_by_their_key() -> None:
    """All of them at once, whoever asks for what; writes by another key come after that."""
    known = shapes()
    asking = [upsert(known, {"name": name, "a": 1}) for name in "yx"]
    asking[0].returning, asking[1].returning = ("a",), ("b", "a")
    others = [
        upsert(known, {"name": "x", "at": 1}, Change("at")),
        upsert(known, {"label": "x", "name": "z"}, key=("label",)),
    ]
    *_, last, by_label = plan([atom(each) for each in (*asking, *others)], known)
    (reading,) = last.readings
    assert ({"a", "b"}, [asking[0].rows[0], asking[1].rows[0]]) == (reading.names, reading.rows)
    assert (("name",), ("label",), ()) == (last.shape.key, by_label.shape.key, by_label.readings)


def _joined(batches: list[Batch]) -> list[list[str]]:
    """Names by runs of one key."""
    return [
        [name for batch in run for name in names([batch])[0]]
        for _, run in groupby(batches, lambda batch: batch.shape.key)
    ]


def test_halves_lose_nothing() -> None:
    """Both halves together are the whole, in its order."""
    atoms = [atom() for _ in range(7)]
    left, right = halves(atoms)
    assert atoms == [*left, *right]


# --- against a database that knows nothing of batches ---


class Write(NamedTuple):
    """What one handler does."""

    change: Change | None
    fields: dict[str, Any]


writes = st.builds(
    Write,
    st.sampled_from([None, ALL, Change("at"), Change(None, frozenset({"a"})), Change("at", frozenset({"a", "at"}))]),
    st.fixed_dictionaries(
        {"name": st.sampled_from(["x", "y"]), "at": st.sampled_from([None, 1, 2, 3])},
        optional={"a": st.integers(0, 9), "b": st.integers(0, 9)},
    ),
)
stored_rows = st.dictionaries(
    st.sampled_from(["x", "y"]),
    st.fixed_dictionaries(
        {"a": st.just(-1), "b": st.just(-2), "at": st.sampled_from([None, *map(to_instant, (1, 2, 3))])}
    ),
)

Table = dict[str, dict[str, Any]]


def execute(table: Table, change: Change | None, values: dict[str, Any]) -> None:
    """What one row of one statement does."""
    values = dict(values)
    name = values.pop("name")
    if name not in table:
        table[name] = dict.fromkeys(FIELDS) | values
    elif change is not None:
        guard = change.newer_than or ""
        before, after = table[name].get(guard), values.get(guard)
        if before is None or (after is not None and before <= after):
            table[name] |= {name: values[name] for name in values if change.update is None or name in change.update}


def in_database(table: Table, batches: list[Batch]) -> Table:
    table = {name: dict(row) for name, row in table.items()}
    for batch in batches:
        assert len({row.values["name"] for row in batch.rows}) == len(batch.rows), "a key twice in one statement"
        for row in batch.rows:
            given = {name: row.values[name] for name in batch.shape.given}
            execute(table, batch.change, given)
    return table


def one_by_one(table: Table, done: list[Write]) -> Table:
    """The naive model: every write for itself, guarded upserts that follow each other in the order of their times."""
    table = {name: dict(row) for name, row in table.items()}
    for name in ("x", "y"):
        mine = [write for write in done if write.fields["name"] == name]
        while mine:
            change = mine[0].change
            run = []
            while mine and mine[0].change == change:
                run.append(mine.pop(0))
            if change is not None and change.newer_than is not None:
                run.sort(key=lambda write: write.fields["at"] or 0)
            for write in run:
                at = write.fields["at"]
                execute(table, change, write.fields | {"at": None if at is None else to_instant(at)})
    return table


def to_atoms(known: Shapes, done: list[Write]) -> list[Atom]:
    return [
        atom(
            insert(known, Thing, **write.fields) if write.change is None else upsert(known, write.fields, write.change)
        )
        for write in done
    ]


@given(stored_rows, st.lists(writes, max_size=8))
@settings(max_examples=500, deadline=None)
def test_a_plan_does_what_its_writes_do_one_after_the_other(before: Table, done: list[Write]) -> None:
    """Whatever is stored, whatever comes, in whatever order."""
    known = shapes()
    assert one_by_one(before, done) == in_database(before, plan(to_atoms(known, done), known))


@given(st.lists(writes, max_size=8))
@settings(max_examples=100, deadline=None)
def test_planning_again_gives_the_same_plan(done: list[Write]) -> None:
    """As happens when a flush is repeated or halved."""
    known = shapes()
    atoms = to_atoms(known, done)
    first = plan(atoms, known)
    second = plan(atoms, known)
    assert [(batch.rank, [row.bound for row in batch.rows]) for batch in first] == [
        (batch.rank, [row.bound for row in batch.rows]) for batch in second
    ]

"""What many handlers want to write, made into few batches."""

from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from core.database.flush import Atom, Batch, halves, plan
from core.database.shapes import Shapes
from core.instants import to_instant
from tests.unit.database.writes.models import Part, Thing, atom, insert, shapes, upsert

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
    for newer_than in (None, "at"):
        atoms = [atom(upsert(known, {"name": name, "a": 1, "at": 5}, newer_than)) for name in "cab"]
        (batch,) = plan(atoms, known)
        assert (True, newer_than, [["a", "b", "c"]]) == (batch.upsert, batch.newer_than, names([batch]))
        (batch,) = plan([*atoms, atom(upsert(known, {"name": "a", "a": 2, "at": 6}, newer_than))], known)
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
    assert [False, True, False] == [batch.upsert for batch in batches]


def test_halves_lose_nothing() -> None:
    """Both halves together are the whole, in its order."""
    atoms = [atom() for _ in range(7)]
    left, right = halves(atoms)
    assert atoms == [*left, *right]


# --- against a database that knows nothing of batches ---


class Write(NamedTuple):
    """What one handler does."""

    upsert: bool
    newer_than: str | None
    fields: dict[str, Any]


writes = st.builds(
    Write,
    st.booleans(),
    st.sampled_from([None, "at"]),
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


def execute(table: Table, upserting: bool, newer_than: str | None, values: dict[str, Any]) -> None:
    """What one row of one statement does."""
    values = dict(values)
    name = values.pop("name")
    if name not in table:
        table[name] = dict.fromkeys(FIELDS) | values
    elif upserting:
        before, after = table[name][newer_than] if newer_than else None, values.get(newer_than or "")
        if before is None or (after is not None and before <= after):
            table[name] |= values


def in_database(table: Table, batches: list[Batch]) -> Table:
    table = {name: dict(row) for name, row in table.items()}
    for batch in batches:
        assert len({row.values["name"] for row in batch.rows}) == len(batch.rows), "a key twice in one statement"
        for row in batch.rows:
            given = {name: row.values[name] for name in batch.shape.given}
            execute(table, batch.upsert, batch.newer_than, given)
    return table


def one_by_one(table: Table, done: list[Write]) -> Table:
    """The naive model: every write for itself, guarded upserts that follow each other in the order of their times."""
    table = {name: dict(row) for name, row in table.items()}
    for name in ("x", "y"):
        mine = [write for write in done if write.fields["name"] == name]
        while mine:
            kind = mine[0][:2] if mine[0].upsert else (False, None)
            run = []
            while mine and (mine[0][:2] if mine[0].upsert else (False, None)) == kind:
                run.append(mine.pop(0))
            if kind == (True, "at"):
                run.sort(key=lambda write: write.fields["at"] or 0)
            for write in run:
                at = write.fields["at"]
                values = write.fields | {"at": None if at is None else to_instant(at)}
                execute(table, write.upsert, kind[1], values)
    return table


def to_atoms(known: Shapes, done: list[Write]) -> list[Atom]:
    return [
        atom(upsert(known, write.fields, write.newer_than) if write.upsert else insert(known, Thing, **write.fields))
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

"""Which statement fills a batch, by what its job does: composed once for each shape of range."""

from typing import Any

import pytest

from sql.job import Copying, JobSpec, Moving, Shape
from sql.postgres import moving, schemas_copy
from sql.postgres.batch import JobSQL
from tests.filled_table import spec_of_items
from worker.batch import Filling

_SHAPES = [Shape("key", lower=lower, striped=striped) for lower in (False, True) for striped in (False, True)]
_SPEC = spec_of_items(stripes=4)


def _moving(step: Any) -> JobSpec:
    return _SPEC.model_copy(
        update={"moving": Moving(assignment=1, step=step, to="b", from_="a", where="id > 1")}
    )


@pytest.mark.parametrize("shape", _SHAPES)
def test_a_batch_waits_for_locked_rows_at_first_and_passes_over_them_then(shape: Shape) -> None:
    filling, job_sql = Filling("items", _SPEC), JobSQL(_SPEC)
    assert filling.statement(shape, unlocked=False) == job_sql.fill(shape).as_bytes()
    assert filling.statement(shape, unlocked=True) == job_sql.fill_unlocked(shape).as_bytes()
    assert filling.held_first(shape) is None


@pytest.mark.parametrize("shape", _SHAPES)
def test_a_row_that_can_move_is_moved_like_any_that_is_filled(shape: Shape) -> None:
    spec = _moving("move")
    filling, job_sql = Filling("items", spec), JobSQL(spec)
    assert filling.statement(shape, unlocked=False) == job_sql.fill(shape).as_bytes()
    assert filling.statement(shape, unlocked=True) == job_sql.fill_unlocked(shape).as_bytes()
    assert filling.held_first(shape) is None


@pytest.mark.parametrize("unlocked", [False, True])
@pytest.mark.parametrize("shape", _SHAPES)
def test_a_row_that_cannot_move_is_copied_removed_or_its_copy_withdrawn(
    shape: Shape, *, unlocked: bool
) -> None:
    copying, removing, withdrawing = (_moving(step) for step in ("copy", "remove", "withdraw"))
    assert [
        Filling("items", spec).statement(shape, unlocked=unlocked)
        for spec in (copying, removing, withdrawing)
    ] == [
        moving.copy(copying, shape).as_bytes(),
        moving.remove(removing).as_bytes(),
        moving.withdraw(withdrawing, shape).as_bytes(),
    ]


@pytest.mark.parametrize("shape", _SHAPES)
def test_rows_that_are_removed_are_held_by_a_statement_before_and_no_others(shape: Shape) -> None:
    removing = _moving("remove")
    held = Filling("items", removing).held_first(shape)
    assert held is not None
    assert held.as_bytes() == moving.hold(removing, shape).as_bytes()
    assert [Filling("items", _moving(step)).held_first(shape) for step in ("copy", "withdraw")] == [
        None,
        None,
    ]


@pytest.mark.parametrize("unlocked", [False, True])
def test_rows_that_go_into_their_tenants_schemas_are_copied(*, unlocked: bool) -> None:
    spec = _SPEC.model_copy(update={"copying": Copying(function=("public", "copied"), tenants=("a",))})
    wanted = schemas_copy.copy(spec, _SHAPES[0], unlocked=unlocked).as_bytes()
    assert Filling("items", spec).statement(_SHAPES[0], unlocked=unlocked) == wanted


def test_a_statement_is_composed_once_for_each_shape_and_way() -> None:
    filling = Filling("items", _SPEC)
    first = {
        (shape, way): filling.statement(shape, unlocked=way) for shape in _SHAPES for way in (False, True)
    }
    assert len(set(first.values())) == len(first)
    assert all(filling.statement(shape, unlocked=way) is first[shape, way] for shape, way in first)

"""On whose behalf code works, as the document keeps it: in threads and tasks, and what may be given."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from types import ModuleType

import pytest

from control.plan.model import Plan
from tests.integration.migrated import PLAN

Module = Callable[[str], ModuleType]


@pytest.mark.parametrize(
    "given", ["", "acme\n", "a b", "acme,other", "ä", "٣", "x" * 256, "a'; DROP TABLE x --"]
)
def test_what_breaks_the_pattern_is_no_tenant(tenancy: Module, given: str) -> None:
    with pytest.raises(tenancy("context").BadTenantError):
        tenancy("context").TenantContext(given)


@pytest.mark.parametrize("given", ["acme", "ACME-2_b", "0", "x" * 255])
def test_what_keeps_the_pattern_is_a_tenant(tenancy: Module, given: str) -> None:
    assert tenancy("context").TenantContext(given).tenant_id == given


def test_pattern_and_setting_of_the_document_are_those_that_a_plan_has_by_default(tenancy: Module) -> None:
    plan = Plan.model_validate(PLAN)
    assert plan.tenant.pattern == f"^{tenancy('context').PATTERN.pattern}$"
    assert plan.tenant.setting in tenancy("with_psycopg").SET_TENANT


def test_after_the_work_it_is_who_it_was_before_even_after_an_error(tenancy: Module) -> None:
    context = tenancy("context")

    def fail() -> None:
        with context.acting_for("inner"):
            assert context.required().tenant_id == "inner"
            raise KeyError

    with context.acting_for("outer"):
        with pytest.raises(KeyError):
            fail()
        assert context.current().tenant_id == "outer"
    assert context.current() is None


def test_code_that_needs_a_tenant_fails_without_one(tenancy: Module) -> None:
    with pytest.raises(tenancy("context").NoTenantError):
        tenancy("context").required()


def test_tasks_that_take_turns_keep_their_own(tenancy: Module) -> None:
    context = tenancy("context")

    async def work(tenant: str, meet: asyncio.Barrier) -> list[str]:
        with context.acting_for(tenant):
            seen = [context.required().tenant_id]
            await meet.wait()
            child = asyncio.create_task(asyncio.to_thread(lambda: context.required().tenant_id))
            await meet.wait()
            return [*seen, context.required().tenant_id, await child]

    async def both() -> list[list[str]]:
        meet = asyncio.Barrier(2)
        return list(await asyncio.gather(work("one", meet), work("two", meet)))

    assert asyncio.run(both()) == [["one"] * 3, ["two"] * 3]


def test_threads_at_the_same_time_keep_their_own(tenancy: Module) -> None:
    context = tenancy("context")
    meet = Barrier(2, timeout=30)

    def work(tenant: str) -> str:
        with context.acting_for(tenant):
            meet.wait()
            seen: str = context.required().tenant_id
            meet.wait()
            return seen

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(work, ["one", "two"])) == ["one", "two"]


def test_a_thread_of_a_pool_knows_the_tenant_only_of_work_that_carries_it(tenancy: Module) -> None:
    context = tenancy("context")
    with ThreadPoolExecutor(1) as pool:
        with context.acting_for("acme"):
            bare = pool.submit(context.current)
            carried = pool.submit(context.carried(context.current))
        assert bare.result() is None
        assert carried.result() == context.TenantContext("acme")
        assert pool.submit(context.current).result() is None


def test_work_that_is_carried_once_may_be_done_by_several_threads_at_once(tenancy: Module) -> None:
    context = tenancy("context")
    meet = Barrier(2, timeout=30)

    def work() -> str:
        meet.wait()
        seen: str = context.required().tenant_id
        return seen

    with context.acting_for("acme"):
        carried = context.carried(work)
    with ThreadPoolExecutor(2) as pool:
        done = [pool.submit(carried) for _ in range(2)]
        assert [each.result() for each in done] == ["acme", "acme"]

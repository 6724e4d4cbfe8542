"""Which tenants a plan names itself."""

from control.plan.model import Plan
from control.verification.rows import named_tenants


def test_a_tenant_at_the_end_of_a_chain_is_one_that_the_plan_names_and_a_source_is_none() -> None:
    by_parent = {"parent": "a", "on": {"a": "id"}}
    sources = [
        {"expression": "org", "otherwise": {"expression": "owner", "otherwise": "rest"}},
        {"expression": "org", "otherwise": by_parent},
        {"constant": "one"},
    ]
    tables = [{"name": name, "tenant": source} for name, source in zip("abc", sources, strict=True)]
    plan = Plan.model_validate({"name": "p", "database": {"url": "postgresql:///"}, "tables": tables})
    assert named_tenants(plan) == ["default", "rest", "one"]

"""No password of the plan is in what leaves the operator's hands."""

import json

import pytest

from control.plan.model import Plan
from control.report import secrets
from control.report.account import without_secrets
from control.report.bundle import files
from tests.integration.migrated import PLAN
from tests.reported import account, statement

PASSWORDS = ("s3cret-of-db", "of standby/@:", "p%40ss-of-redis", "p@ss-of-redis")


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.setenv("ITS_URL", f"postgresql://op:{PASSWORDS[0]}@db/graph")
    return Plan.model_validate(
        PLAN
        | {
            "database": {"url": "env:ITS_URL", "standbys": ["host=standby password='of standby/@:' user=op"]},
            "redis": {"url": f"rediss://:{PASSWORDS[2]}@queue:6379/0"},
        }
    )


def test_every_password_of_the_plan_is_known_as_it_is_and_as_an_address_writes_it(plan: Plan) -> None:
    assert set(PASSWORDS) <= set(secrets.of(plan))
    assert "of%20standby%2F%40%3A" in secrets.of(plan)


def test_no_file_of_a_bundle_has_a_password_wherever_it_came_from(plan: Plan) -> None:
    leaked = " ".join(PASSWORDS)
    told = account(
        name=f"connection to {PASSWORDS[0]} failed",
        plan=f'url = "postgresql://op:{PASSWORDS[0]}@db/graph" # {leaked}',
        events=[statement("t", took=None, error=f"could not connect: {leaked} password=another-one")],
    )
    packed = files(without_secrets(told, secrets.of(plan)))
    assert {"report.html", "plan.toml", "events.json"} <= packed.keys()
    for name, text in packed.items():
        for word in (*PASSWORDS, "another-one"):
            assert word not in text, name
        if name.endswith(".json"):
            json.loads(text)


def test_a_variable_that_is_not_set_here_is_no_reason_to_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOWHERE", raising=False)
    plan = Plan.model_validate(PLAN | {"redis": {"url": "env:NOWHERE"}})
    assert secrets.of(plan) == ()


def test_what_has_no_password_is_as_it_was() -> None:
    told = account()
    assert files(without_secrets(told, ())) == files(told)

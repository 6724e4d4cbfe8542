"""No password of the plan is in what leaves the operator's hands."""

import io
import json
import tarfile

import pytest

from control.plan.model import Plan
from control.report import bundle, secrets
from control.report.account import without_secrets
from control.report.bundle import files
from tests.integration.migrated import PLAN
from tests.reported import account, statement

PASSWORDS = ("s3cret-of-db", "of standby/@:", "p%40ss-of-redis", "p@ss-of-redis")
HOOK, SIGNS = "/services/T0/B0/sEsAmE", "c2lnbmVk"


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.setenv("ITS_URL", f"postgresql://op:{PASSWORDS[0]}@db/graph")
    return Plan.model_validate(
        PLAN
        | {
            "database": {"url": "env:ITS_URL", "standbys": ["host=standby password='of standby/@:' user=op"]},
            "redis": {"url": f"rediss://:{PASSWORDS[2]}@queue:6379/0"},
            "notify": {"url": f"https://hooks.example.org{HOOK}", "secret": f"whsec_{SIGNS}"},
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


def test_what_opens_the_webhook_and_signs_its_messages_is_in_no_file(plan: Plan) -> None:
    text = f'[notify]\nurl = "https://hooks.example.org{HOOK}"\nsecret = "whsec_{SIGNS}"'
    told = account(plan=text, events=[statement("t", took=None, error=f"no answer of {HOOK}")])
    packed = files(without_secrets(told, secrets.of(plan)))
    assert "https://hooks.example.org***" in packed["plan.toml"]
    for name, content in packed.items():
        assert HOOK not in content, name
        assert SIGNS not in content, name


@pytest.mark.parametrize("password", ["it's", 'a"b\\c d', "p/ä@:%2f", "\\\\'\""])
def test_a_password_in_the_plan_is_found_as_the_plan_writes_it(password: str) -> None:
    quoted = password.replace("\\", "\\\\").replace("'", "\\'")
    url = f"host=db user=op password='{quoted}'"
    text = f"[database]\nurl = {json.dumps(url, ensure_ascii=False)} # so to say"
    plan = Plan.model_validate(PLAN | {"database": {"url": url}})
    hidden = without_secrets(account(plan=text), secrets.of(plan)).plan
    assert hidden == '[database]\nurl = "host=db user=op password=***" # so to say'


@pytest.mark.parametrize(
    "word", ["name", "done", "keys", "2026", "complete", "statement", "reason", "PostgreSQL"]
)
def test_a_password_that_is_a_word_of_ours_breaks_no_report(word: str) -> None:
    packed = files(without_secrets(account(name=f"t {word}"), (word,)))
    assert packed.keys() == files(account()).keys()
    assert "t ***" in packed["report.html"]
    assert json.loads(packed["stages.json"])[0]["started_at"] == "2026-01-01T12:00:00Z"


def test_a_variable_that_is_not_set_here_is_no_reason_to_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOWHERE", raising=False)
    plan = Plan.model_validate(PLAN | {"redis": {"url": "env:NOWHERE"}})
    assert secrets.of(plan) == ()


def test_of_one_account_an_archive_is_always_the_same_and_its_files_are_the_owners_alone() -> None:
    packed = bundle.packed(account(), "m-report")
    made = int(account().made_at.timestamp())
    assert int.from_bytes(packed[4:8], "little") == made, "when it was packed is no part of it"
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        assert {member.mode for member in archive.getmembers()} == {0o600}
        assert {member.uname for member in archive.getmembers()} == {""}


def test_what_has_no_password_is_as_it_was() -> None:
    told = account()
    assert files(without_secrets(told, ())) == files(told)

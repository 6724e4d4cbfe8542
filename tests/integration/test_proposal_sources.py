"""Whose the rows of a table are, as `init` proposes it from what they say and what they point to."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from control.plan.model import Plan
from control.plan.proposal import propose
from control.plan.reading import read_plan
from sql.postgres.connection import Connection, connect
from sql.tenant_source import Constant, Expression, Lookup, Parent

ORGS = """
CREATE TABLE organisations (id int PRIMARY KEY, slug text UNIQUE NOT NULL, name text);
INSERT INTO organisations VALUES (1, 'acme', 'Acme Corp'), (2, 'umbra', 'Umbra Inc');
"""
ORG = Expression(expression="org_id")
BY_SLUG = Lookup(lookup="organisations", on={"org_id": "id"}, column="slug")


@pytest.fixture
def empty(database: str) -> Iterator[Connection]:
    with connect(database, "test") as opened:
        yield opened


def _propose(connection: Connection, folder: Path) -> tuple[Plan, str]:
    text = propose(connection, url="env:DATABASE_URL")
    (folder / "migration.toml").write_text(text, encoding="utf-8")
    return read_plan(folder / "migration.toml"), text


def _tenants(plan: Plan) -> dict[str, object]:
    return {table.name: table.tenant for table in plan.tables}


def _with_others(text: str, folder: Path) -> Plan:
    """The plan with the sources taken in that it has as comments."""
    (folder / "others.toml").write_text(
        "\n".join(
            line.removeprefix("# ")
            for line, following in zip(text.splitlines(), [*text.splitlines()[1:], ""], strict=True)
            if not following.startswith("# tenant =")
        ),
        encoding="utf-8",
    )
    return read_plan(folder / "others.toml")


def test_a_row_keeps_the_id_of_its_organisation_as_its_tenant_and_the_slug_is_offered(
    empty: Connection, tmp_path: Path
) -> None:
    empty.execute(
        f"{ORGS} CREATE TABLE orders (id int PRIMARY KEY, org_id int NOT NULL REFERENCES organisations)"
    )
    plan, text = _propose(empty, tmp_path)
    assert _tenants(plan) == {"orders": ORG}
    offered = '# tenant = { lookup = "organisations", on = { org_id = "id" }, column = "slug" }'
    lines = text.splitlines()
    assert offered in lines
    assert lines[lines.index(offered) - 1] == 'tenant = { expression = "org_id" }'
    assert "# org_id itself is proposed: it is in the row, and doesn't change" in text


def test_a_slug_that_is_no_tenant_or_has_two_organisations_is_not_offered(
    empty: Connection, tmp_path: Path
) -> None:
    empty.execute(
        "CREATE TABLE orgs (id int PRIMARY KEY, slug text, code text, handle text, name text);"
        "INSERT INTO orgs VALUES (1, 'a b', 'x', 'y', 'ACME'), (2, 'c', 'x', NULL, 'UMBRA');"
        "CREATE TABLE orders (id int PRIMARY KEY, org_id int NOT NULL REFERENCES orgs)"
    )
    _, text = _propose(empty, tmp_path)
    (offered,) = (line for line in text.splitlines() if line.startswith("# tenant ="))
    assert offered.endswith('column = "name" }')


def test_what_the_list_of_tenants_itself_calls_a_tenant_is_looked_up(
    empty: Connection, tmp_path: Path
) -> None:
    empty.execute(
        "CREATE TABLE organisations (id int PRIMARY KEY, tenant text NOT NULL, slug text);"
        "INSERT INTO organisations VALUES (1, 'acme', 'a');"
        "CREATE TABLE orders (id int PRIMARY KEY, org_id int NOT NULL REFERENCES organisations);"
        "CREATE TABLE parcels (id int PRIMARY KEY, org_id int NOT NULL)"
    )
    plan, text = _propose(empty, tmp_path)
    by_tenant = Lookup(lookup="organisations", on={"org_id": "id"}, column="tenant")
    assert _tenants(plan) == {"orders": by_tenant, "parcels": by_tenant}, "parcels by the name alone"
    assert "# organisations.tenant says what a tenant is called" in text
    assert '# tenant = { expression = "org_id" }' in text


def test_ids_are_looked_up_where_another_table_calls_tenants_by_their_slug(
    empty: Connection, tmp_path: Path
) -> None:
    """One tenant under two names would be two tenants."""
    empty.execute(
        f"{ORGS} CREATE TABLE orders (id int PRIMARY KEY, org_id int NOT NULL REFERENCES organisations);"
        "CREATE TABLE visits (id int PRIMARY KEY, tenant text NOT NULL);"
        "INSERT INTO visits VALUES (1, 'acme')"
    )
    plan, text = _propose(empty, tmp_path)
    assert _tenants(plan) == {"orders": BY_SLUG, "visits": Expression(expression="tenant")}
    assert "# visits.tenant calls tenants as organisations.slug does" in text


def test_a_table_that_translates_ids_to_tenants_is_looked_up_and_left_out(
    empty: Connection, tmp_path: Path
) -> None:
    empty.execute(
        "CREATE TABLE org_tenants (org_id int PRIMARY KEY, tenant text NOT NULL, since date);"
        "CREATE TABLE orders (id int PRIMARY KEY, org_id int NOT NULL)"
    )
    plan, text = _propose(empty, tmp_path)
    assert _tenants(plan) == {
        "orders": Lookup(lookup="org_tenants", on={"org_id": "org_id"}, column="tenant")
    }
    assert "# left out: org_tenants looks like the list of tenants itself" in text


def test_a_foreign_key_of_another_name_leads_to_the_list_of_tenants_too(
    empty: Connection, tmp_path: Path
) -> None:
    empty.execute(
        f"{ORGS} CREATE TABLE orders (id int PRIMARY KEY, org_id int NOT NULL REFERENCES organisations);"
        'CREATE TABLE bills (id int PRIMARY KEY, "paid by" int NOT NULL REFERENCES organisations)'
    )
    plan, _ = _propose(empty, tmp_path)
    assert _tenants(plan)["bills"] == Expression(expression='"paid by"')


def test_a_table_outside_the_search_path_that_names_the_tenant_is_looked_up(
    empty: Connection, tmp_path: Path
) -> None:
    empty.execute(
        "CREATE SCHEMA auth; CREATE TABLE auth.users (id int PRIMARY KEY, org_id int NOT NULL);"
        "CREATE TABLE projects (id int PRIMARY KEY, owner_id int NOT NULL REFERENCES auth.users)"
    )
    plan, _ = _propose(empty, tmp_path)
    assert _tenants(plan) == {"projects": Lookup(lookup="auth.users", on={"owner_id": "id"}, column="org_id")}


def test_an_account_of_an_organisation_is_a_table_of_the_plan_and_no_list_of_tenants(
    empty: Connection, tmp_path: Path
) -> None:
    empty.execute(
        f"{ORGS} CREATE TABLE accounts (id int PRIMARY KEY, org_id int NOT NULL REFERENCES organisations);"
        "CREATE TABLE logins (id int PRIMARY KEY, account_id int NOT NULL REFERENCES accounts)"
    )
    plan, _ = _propose(empty, tmp_path)
    assert _tenants(plan) == {"accounts": ORG, "logins": Parent(parent="accounts", on={"account_id": "id"})}


def test_a_parent_that_every_row_has_wins_then_one_that_owns_it_then_the_first(
    empty: Connection, tmp_path: Path
) -> None:
    empty.execute(
        "CREATE TABLE users (id int PRIMARY KEY, org_id int NOT NULL);"
        "CREATE TABLE documents (id int PRIMARY KEY, author_id int NOT NULL REFERENCES users);"
        "CREATE TABLE comments (id int PRIMARY KEY, seen_by int REFERENCES users,"
        "  author_id int NOT NULL REFERENCES users,"
        "  document_id int NOT NULL REFERENCES documents ON DELETE CASCADE);"
        "CREATE TABLE tags (document_id int REFERENCES documents, user_id int REFERENCES users,"
        "  PRIMARY KEY (document_id, user_id))"
    )
    plan, _ = _propose(empty, tmp_path)
    assert _tenants(plan) == {
        "users": ORG,
        "documents": Parent(parent="users", on={"author_id": "id"}),
        "comments": Parent(parent="documents", on={"document_id": "id"}),
        "tags": Parent(parent="documents", on={"document_id": "id"}),
    }


def test_parents_that_not_every_row_has_are_asked_one_after_the_other(
    empty: Connection, tmp_path: Path
) -> None:
    empty.execute(
        "CREATE TABLE documents (id int PRIMARY KEY, org_id int NOT NULL);"
        "CREATE TABLE tasks (id int PRIMARY KEY, org_id int NOT NULL);"
        "CREATE TABLE comments (id int PRIMARY KEY, document_id int REFERENCES documents,"
        "  task_id int REFERENCES tasks, other_task_id int REFERENCES tasks)"
    )
    plan, _ = _propose(empty, tmp_path)
    of_tasks = Parent(parent="tasks", on={"task_id": "id"})
    assert _tenants(plan)["comments"] == Parent(
        parent="documents", on={"document_id": "id"}, otherwise=of_tasks
    )


def test_what_a_row_says_itself_comes_before_a_parent_that_it_may_not_have(
    empty: Connection, tmp_path: Path
) -> None:
    empty.execute(
        "CREATE TABLE users (id int PRIMARY KEY, org_id int NOT NULL);"
        "CREATE TABLE projects (id int PRIMARY KEY, org_id int, owner_id int REFERENCES users);"
        "INSERT INTO projects VALUES (1, 1, NULL), (2, NULL, NULL);"
        "CREATE TABLE plots (id int PRIMARY KEY, org_id int, owner_id int REFERENCES users);"
        "INSERT INTO plots VALUES (1, 1, NULL)"
    )
    plan, _ = _propose(empty, tmp_path)
    tenants = _tenants(plan)
    of_users = Parent(parent="users", on={"owner_id": "id"})
    assert tenants["projects"] == Expression(expression="org_id", otherwise=of_users)
    assert tenants["plots"] == ORG, "every row says it"


def test_a_parent_that_every_row_has_comes_before_what_only_some_rows_say(
    empty: Connection, tmp_path: Path
) -> None:
    empty.execute(
        "CREATE TABLE users (id int PRIMARY KEY, org_id int NOT NULL);"
        "CREATE TABLE projects (id int PRIMARY KEY, org_id int, owner_id int NOT NULL REFERENCES users);"
        "INSERT INTO users VALUES (1, 1); INSERT INTO projects VALUES (1, 1, 1), (2, NULL, 1)"
    )
    plan, text = _propose(empty, tmp_path)
    assert _tenants(plan)["projects"] == Parent(parent="users", on={"owner_id": "id"})
    assert "# org_id doesn't say of every row whose it is, and every row names one of users" in text


def test_a_tree_is_asked_upwards_and_its_topmost_rows_what_they_say(
    empty: Connection, tmp_path: Path
) -> None:
    empty.execute(
        "CREATE TABLE users (id int PRIMARY KEY, org_id int NOT NULL);"
        "CREATE TABLE folders (id int PRIMARY KEY, parent_id int REFERENCES folders, org_id int,"
        "  owner_id int REFERENCES users);"
        "INSERT INTO folders VALUES (1, NULL, 1), (2, 1, NULL);"
        "CREATE TABLE files (id int PRIMARY KEY, folder_id int NOT NULL REFERENCES folders);"
        "CREATE TABLE boxes (id int PRIMARY KEY, parent_id int REFERENCES boxes, org_id int NOT NULL)"
    )
    plan, _ = _propose(empty, tmp_path)
    tenants = _tenants(plan)
    assert tenants["folders"] == Parent(
        parent="folders",
        on={"parent_id": "id"},
        otherwise=Expression(expression="org_id", otherwise=Parent(parent="users", on={"owner_id": "id"})),
    )
    assert tenants["files"] == Parent(parent="folders", on={"folder_id": "id"})
    assert tenants["boxes"] == ORG, "every row says it"


def test_a_column_without_a_foreign_key_is_followed_where_its_name_and_its_values_are_anothers_key(
    empty: Connection, tmp_path: Path
) -> None:
    empty.execute(
        "CREATE TABLE documents (document_id int PRIMARY KEY, org_id int NOT NULL);"
        "INSERT INTO documents VALUES (1, 1), (2, 2);"
        "CREATE TABLE pages (id int PRIMARY KEY, document_id int NOT NULL); INSERT INTO pages VALUES (1, 2);"
        "CREATE TABLE scans (id int PRIMARY KEY, document_id int); INSERT INTO scans VALUES (1, 7);"
        "CREATE TABLE faxes (id int PRIMARY KEY, document_id bigint)"
    )
    plan, text = _propose(empty, tmp_path)
    tenants = _tenants(plan)
    assert tenants["pages"] == Parent(parent="documents", on={"document_id": "document_id"})
    assert tenants["scans"] == tenants["faxes"] == Constant(constant="default")
    assert "# nothing but its name says that document_id is of documents" in text


def test_without_any_foreign_key_a_column_is_followed_to_the_table_that_it_is_called_after(
    empty: Connection, tmp_path: Path
) -> None:
    empty.execute(
        "CREATE TABLE categories (id bigint PRIMARY KEY, org_id int NOT NULL);"
        "CREATE TABLE box (id int PRIMARY KEY); CREATE TABLE boxes (id int PRIMARY KEY, org_id int NOT NULL);"
        "CREATE TABLE things (id bigint PRIMARY KEY, category_id bigint NOT NULL);"
        "CREATE TABLE lids (id int PRIMARY KEY, box_id int NOT NULL, category_id int NOT NULL);"
        "CREATE TABLE orgs (id int PRIMARY KEY, org_code text UNIQUE);"
        "ALTER TABLE boxes ADD FOREIGN KEY (org_id) REFERENCES orgs;"
        "CREATE TABLE bills (id int PRIMARY KEY, org_code text NOT NULL)"
    )
    plan, text = _propose(empty, tmp_path)
    tenants = _tenants(plan)
    assert tenants["things"] == Parent(parent="categories", on={"category_id": "id"})
    assert tenants["lids"] == Constant(constant="default"), "box or boxes, and a category of another type"
    assert tenants["bills"] == Lookup(lookup="orgs", on={"org_code": "org_code"}, column="id")
    assert "# left out: orgs looks like the list of tenants itself" in text
    assert "# nothing tells whose its rows are" in text


def test_what_tells_nothing_and_tenants_rows_point_to_is_left_out_as_shared(
    empty: Connection, tmp_path: Path
) -> None:
    """In the hands of one tenant, every row of another that points there would be an edge between them."""
    empty.execute(
        "CREATE TABLE regions (id int PRIMARY KEY);"
        "CREATE TABLE countries (id int PRIMARY KEY, region_id int REFERENCES regions);"
        "CREATE TABLE orders (id int PRIMARY KEY, org_id int NOT NULL, country_id int REFERENCES countries);"
        "CREATE TABLE jobs (id int PRIMARY KEY)"
    )
    plan, text = _propose(empty, tmp_path)
    assert _tenants(plan) == {"orders": ORG, "jobs": Constant(constant="default")}
    assert "# left out: countries says nothing of tenants, and orders points to it" in text
    assert "# left out: regions says nothing of tenants, and countries points to it" in text


def test_a_source_that_is_offered_is_one_once_its_sign_is_taken_away(
    empty: Connection, tmp_path: Path
) -> None:
    empty.execute(
        f"{ORGS} CREATE TABLE users (id int PRIMARY KEY, org_id int NOT NULL REFERENCES organisations);"
        "CREATE TABLE folders (id int PRIMARY KEY, org_id int REFERENCES organisations,"
        "  owner_id int REFERENCES users); INSERT INTO folders VALUES (1)"
    )
    empty.execute("INSERT INTO folders VALUES (2, 1)")
    _, text = _propose(empty, tmp_path)
    of_users = Parent(parent="users", on={"owner_id": "id"})
    taken = _with_others("\n".join(line for line in text.splitlines() if _is_plan(line)), tmp_path)
    assert _tenants(taken) == {
        "users": BY_SLUG,
        "folders": BY_SLUG.model_copy(update={"otherwise": of_users}),
    }


def _is_plan(line: str) -> bool:
    return not line.startswith("#") or line.startswith("# tenant =")


def test_what_is_generated_is_never_asked_for_it_has_no_value_yet_when_the_guard_asks(
    empty: Connection, tmp_path: Path
) -> None:
    empty.execute(
        f"{ORGS} CREATE TABLE orders (id int PRIMARY KEY, org_id int NOT NULL REFERENCES organisations);"
        "CREATE TABLE lines (id int PRIMARY KEY, number text,"
        " org_id int GENERATED ALWAYS AS (length(number)) STORED,"
        " order_id int GENERATED ALWAYS AS (length(number)) STORED REFERENCES orders);"
        "CREATE TABLE seen (id int PRIMARY KEY, data jsonb NOT NULL,"
        " org_id text GENERATED ALWAYS AS (data ->> 'org_id') STORED);"
        """INSERT INTO seen VALUES (1, '{"org_id": "1"}')"""
    )
    plan, text = _propose(empty, tmp_path)
    told = _tenants(plan)
    assert told["lines"] == Constant(constant="default")
    assert told["seen"] == Expression(expression="data->>'org_id'")
    assert "# org_id is generated, and has no value yet" in text

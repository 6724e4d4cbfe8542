"""`verify` and `check` of a migration that has begun: what is not there is said, with what to do."""

import psycopg

from tests.integration.operating import Operator, complaint


def test_a_missing_column_or_table_is_one_line_that_says_so(operator: Operator) -> None:
    operator.run_to("preflight")
    early = operator.tenantry("verify")
    assert early.returncode == 1
    assert "graph_entities: tenant column: there is no tenant_id yet: `tenantry run` adds it" in early.stdout
    with psycopg.connect(operator.url) as other:
        other.execute("DROP TABLE graph_relations")
    for command in ("verify", "check"):
        gone = operator.tenantry(command)
        assert gone.returncode == 2
        assert "table graph_relations is not in this database" in complaint(gone.stderr)

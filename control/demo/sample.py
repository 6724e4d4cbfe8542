"""The sample graph: a knowledge graph of 50 organisations, made by formulas.

Every row follows from its number (from 1), so that whoever checks the graph later can work out each row
again and need not remember ten million of them. The formulas of organisation and ends stand a second time,
for the server, in `sql/postgres/journal.sql`; a test holds the two together.
"""

from collections.abc import Iterator
from pathlib import Path

import sql.postgres
from sql.errors import GivenWrongError
from sql.named import load
from sql.postgres.connection import Connection

STATEMENTS = load(Path(sql.postgres.__file__).parent, "sample")

ORGANISATIONS = 50
#: Five entities in each organisation: fewer, and two relations of one entity could not end at different ones.
FEWEST_ENTITIES = 5 * ORGANISATIONS

_TYPES = ("person", "company", "product", "place", "event", "document", "concept")
_RELATIONS = ("knows", "supplies", "mentions", "located_in", "part_of")
_SOURCES = ("crm", "import", "crawler", "support", "manual", "partner feed")
_LANGUAGES = ("en", "de", "fr", "es", "ja")
#: Rows of one write to the server. A block that fits the socket's buffer lets the server read it while we
#: make the next: with blocks of 5,000 rows the COPY of 600,000 took 6.7 s instead of 3.9 s.
_BLOCK = 500
#: As COPY's text format writes them.
_NULL, _BYTEA = "\\N", "\\\\x"


def entity_key(number: int) -> str:
    """The key of an entity; keys sort as the numbers do, so they follow the heap."""
    return f"entity-{number:010d}"


def is_entity_key(key: str) -> bool:
    """Whether an entity came with the sample, rather than by the application."""
    return key.startswith("entity-")


def relation_key(number: int) -> str:
    """The key of a relation."""
    return f"relation-{number:010d}"


def organisation(number: int) -> str:
    """The organisation, and so the tenant, that an entity belongs to."""
    return f"org-{number % ORGANISATIONS:02d}"


def ends(number: int, *, entities: int, relations: int) -> tuple[int, int]:
    """The numbers of the entities that a relation joins: (source, target), both of one organisation.

    The relations of an entity follow each other, as they do where entities are ingested together with
    their relations. Two entities are never joined twice, nor to and fro: in a pair of that kind two
    cascading deletes could lock the two relations in opposite order, a deadlock of the sample's own making.
    """
    before = (number - 1) * entities // relations
    nth = number - 1 - (before * relations + entities - 1) // entities
    first = before % ORGANISATIONS + 1
    members = (entities - first) // ORGANISATIONS + 1
    reach = (members - 1) // 2
    place = (before // ORGANISATIONS + 1 + (reach // 2 + nth) % reach) % members
    return before + 1, first + ORGANISATIONS * place


def entity_row(number: int) -> tuple[str, str, str, str | None]:
    """An entity as (id, type, properties as JSON, embedding); every eighth has one, of 32 bytes in hex."""
    kind = _TYPES[number % 7]
    properties = (
        f'{{"org_id": "org-{number % ORGANISATIONS:02d}", "name": "{kind} {number}", '
        f'"source": "{_SOURCES[number % 6]}", "language": "{_LANGUAGES[number % 5]}", '
        f'"confidence": 0.{number % 97:02d}, "chunk": {number // 40}, '
        f'"verified": {"true" if number % 3 else "false"}}}'
    )
    embedding = None if number % 8 else f"{number:016x}{number * 7:016x}{number * 31:016x}{number * 127:016x}"
    return f"entity-{number:010d}", kind, properties, embedding


def relation_row(number: int, *, entities: int, relations: int) -> tuple[str, str, str, str, str, float]:
    """A relation as (id, type, source, target, properties as JSON, weight)."""
    source, target = ends(number, entities=entities, relations=relations)
    properties = (
        f'{{"source": "{_SOURCES[number % 6]}", "confidence": 0.{number % 97:02d}, "chunk": {source // 40}, '
        f'"evidence": "sentence {number % 40} of page {number % 300}"}}'
    )
    return (
        f"relation-{number:010d}",
        _RELATIONS[number % 5],
        f"entity-{source:010d}",
        f"entity-{target:010d}",
        properties,
        number % 100 / 100,
    )


def relations_of(entities: int, relations: int | None = None) -> int:
    """How many relations a sample has: two for each entity, unless it is said.

    Raises:
        GivenWrongError: so few entities, or so many relations, that a graph can't be made of them.
    """
    relations = 2 * entities if relations is None else relations
    if entities < FEWEST_ENTITIES:
        raise GivenWrongError(f"the sample needs at least {FEWEST_ENTITIES} entities, not {entities}")
    most = entities * ((entities // ORGANISATIONS - 1) // 2)
    if not 1 <= relations <= most:
        raise GivenWrongError(f"{entities} entities can have 1 to {most} relations, not {relations}")
    return relations


def create(connection: Connection) -> None:
    """Make the empty tables with their keys and indexes, and the application's role with its grants."""
    for statement in (
        STATEMENTS.create_role,
        STATEMENTS.create_tables,
        STATEMENTS.create_keys,
        STATEMENTS.grant,
    ):
        connection.execute(statement.compose())


def fill(connection: Connection, *, entities: int, relations: int | None = None) -> None:
    """Fill the tables of `create` by COPY, replacing what they hold; `connection` is in autocommit.

    There are two relations for each entity unless `relations` says otherwise. Keys and indexes are
    rebuilt after the rows are in: the GIN indexes alone would make the fill several times longer.

    Raises:
        GivenWrongError: so few entities, or so many relations, that a graph can't be made of them.
    """
    relations = relations_of(entities, relations)
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(STATEMENTS.build_memory.compose())
        cursor.execute(STATEMENTS.drop_keys.compose())
        cursor.execute(STATEMENTS.empty.compose())
        with cursor.copy(STATEMENTS.copy_entities.compose()) as copy:
            for block in _entities(entities):
                copy.write(block)
        with cursor.copy(STATEMENTS.copy_relations.compose()) as copy:
            for block in _relations(entities, relations):
                copy.write(block)
        cursor.execute(STATEMENTS.create_keys.compose())
    connection.execute(STATEMENTS.settle.compose())


def _entities(entities: int) -> Iterator[bytes]:
    """The rows of graph_entities in COPY's text format."""
    for start in range(1, entities + 1, _BLOCK):
        rows = (entity_row(number) for number in range(start, min(start + _BLOCK, entities + 1)))
        yield "".join(
            f"{key}\t{kind}\t{properties}\t{_NULL if embedding is None else _BYTEA + embedding}\n"
            for key, kind, properties, embedding in rows
        ).encode()


def _relations(entities: int, relations: int) -> Iterator[bytes]:
    """The rows of graph_relations in COPY's text format."""
    for start in range(1, relations + 1, _BLOCK):
        rows = (
            relation_row(number, entities=entities, relations=relations)
            for number in range(start, min(start + _BLOCK, relations + 1))
        )
        yield "".join(
            f"{key}\t{kind}\t{source}\t{target}\t{properties}\t{weight}\n"
            for key, kind, source, target, properties, weight in rows
        ).encode()

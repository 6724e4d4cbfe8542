"""The sample graph in a SQLite file: the same rows by the same formulas, as `entities` and `relations`."""

from itertools import islice
from pathlib import Path

import sql.sqlite
from control.demo.sample import entity_row, relation_row, relations_of
from sql.named import load
from sql.sqlite import connection as sqlite
from sql.sqlite.connection import File

STATEMENTS = load(Path(sql.sqlite.__file__).parent, "sample")

#: Rows of one INSERT of the driver's.
_BLOCK = 10_000


def make(path: Path, *, entities: int, relations: int | None = None) -> None:
    """Make the file, in WAL mode, and fill its tables; indexes are built once the rows are in.

    There are two relations for each entity unless `relations` says otherwise.

    Raises:
        GivenWrongError: so few entities, or so many relations, that a graph can't be made of them.
        FileExistsError: there is such a file.
    """
    relations = relations_of(entities, relations)
    path.touch(exist_ok=False)
    with sqlite.connect(f"{sqlite.SCHEME}{path}") as file:
        file.execute(STATEMENTS.write_ahead.filled())
        with file.transaction():
            file.execute(STATEMENTS.create_entities.filled())
            file.execute(STATEMENTS.create_relations.filled())
            _fill(file, entities, relations)
            for index in (
                STATEMENTS.index_types,
                STATEMENTS.index_relation_types,
                STATEMENTS.index_sources,
                STATEMENTS.index_targets,
                STATEMENTS.index_both_ends,
            ):
                file.execute(index.filled())
        file.execute(STATEMENTS.settle.filled())
        # What is measured begins with a file as it has long been, not with the fill still in its WAL.
        file.execute(STATEMENTS.checkpoint.filled()).fetchall()


def _fill(file: File, entities: int, relations: int) -> None:
    rows = (
        (key, kind, properties, None if embedding is None else bytes.fromhex(embedding))
        for key, kind, properties, embedding in map(entity_row, range(1, entities + 1))
    )
    while block := list(islice(rows, _BLOCK)):
        file.raw.executemany(STATEMENTS.insert_entity.filled(), block)
    related = (relation_row(n, entities=entities, relations=relations) for n in range(1, relations + 1))
    while several := list(islice(related, _BLOCK)):
        file.raw.executemany(STATEMENTS.insert_relation.filled(), several)

"""Column specs: the columns of a table, listed once.

The SQL that writes a table, the rows that are written and the functions that read rows are derived
from the list. Functions that run for every row are compiled from generated source when a module is
imported: a loop over the columns takes 1.3 to 2 times as long as code written by hand, compiled
source takes as long.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import Field, dataclass, fields
from typing import Any, Final

import msgspec
from asyncpg import Record

WHOLE: Final = ""
"""The `source` of a column whose value is computed from the whole stored object."""

_BACKSLASHED: Final = str.maketrans({"\\": "\\\\", '"': '\\"'})


@dataclass(frozen=True, slots=True)
class Column:
    """One column, and where its value comes from.

    `source` is the attribute of the stored object, dotted for an attribute of an attribute; by
    default it has the name of the column. `write` converts the attribute for the driver, `read`
    converts the driver's value back. A column with `write` and without `read` repeats what other
    columns say, in a form that can be searched or summed: it is never read back.
    """

    name: str
    type: str  # in SQL
    source: str | None = None
    write: Callable[[Any], object] | None = None
    read: Callable[[Any], object] | None = None

    @property
    def path(self) -> str:
        return self.name if self.source is None else self.source


def columns(declarations: str, at: str = "") -> tuple[Column, ...]:
    """Columns that hold attributes of the same names, as SQL declares them: "id uuid, name text".

    `at` is the attribute of the stored object that has the attributes; none: the object itself.
    """
    pairs = (one.split() for one in declarations.split(","))
    return tuple(Column(name, type_, f"{at}.{name}" if at else None) for name, type_ in pairs)


@dataclass(frozen=True, slots=True)
class Table:
    """A table and the columns that are written.

    Columns with a default of the database are left out.

    `given` are columns whose values come from outside the stored object: `compile_row` takes them
    as arguments. They come first.
    """

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ("project_id", "id")
    given: tuple[Column, ...] = ()

    @property
    def all_columns(self) -> tuple[Column, ...]:
        return (*self.given, *self.columns)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.all_columns)

    def select(self, alias: str = "") -> str:
        """All columns, as a SELECT lists them."""
        return ", ".join(f"{alias}.{name}" if alias else name for name in self.names)

    def parameters(self) -> str:
        """One parameter a column, for one row."""
        return ", ".join(f"${n}" for n in range(1, len(self.names) + 1))

    def insert(self, alias: str | None = None) -> str:
        """Inserts one row; an ON CONFLICT may follow."""
        name = self.name if alias is None else f"{self.name} AS {alias}"
        return f"INSERT INTO {name} ({self.select()}) VALUES ({self.parameters()})"

    def insert_if_new(self) -> str:
        """Inserts one row unless its key exists."""
        return f"{self.insert()} ON CONFLICT ({', '.join(self.key)}) DO NOTHING"

    def typed_parameters(self) -> str:
        """As `parameters`, each cast to the type of its column."""
        return ", ".join(f"${n}::{one.type}" for n, one in enumerate(self.all_columns, start=1))

    def assignments(self) -> str:
        """Each column outside the key set to its parameter."""
        pairs = enumerate(self.names, start=1)
        return ", ".join(f"{name} = ${n}" for n, name in pairs if name not in self.key)

    def overwrite(self) -> str:
        """Each column outside the key set to that of the row that met a conflict."""
        return ", ".join(f"{name} = excluded.{name}" for name in self.names if name not in self.key)

    def unnest(self, alias: str, *names: str, first: int = 1) -> str:
        """Rows out of parameters, of which each is an array with the values of one column.

        All columns, or `names` in their order. Arrays inside an array travel as text, see
        `array_text`: unnest() would flatten them.
        """
        by_name = {one.name: one for one in self.all_columns}
        columns = [by_name[name] for name in names or self.names]
        arrays = (f"${n}::{_element(one)}[]" for n, one in enumerate(columns, start=first))
        return f"unnest({', '.join(arrays)}) AS {alias} ({', '.join(one.name for one in columns)})"

    def unnest_keys(self, alias: str) -> str:
        return self.unnest(alias, *self.key)

    def on_key(self, alias: str) -> str:
        """Whether a row of this table has the key of a row of `alias`."""
        return " AND ".join(f"{self.name}.{name} = {alias}.{name}" for name in self.key)

    def insert_from(self, alias: str, first: int = 1) -> str:
        """Inserts the rows of `unnest`; a WHERE or ON CONFLICT may follow."""
        return f"INSERT INTO {self.name} ({self.select()}) {self.select_from(alias, first)}"

    def select_from(self, alias: str, first: int = 1) -> str:
        """Selects the rows of `unnest` as columns of the table; a WHERE may follow."""
        return f"SELECT {self.values(alias)} FROM {self.unnest(alias, first=first)}"

    def values(self, alias: str) -> str:
        """The columns of `unnest`, each in the type of the table's."""
        return ", ".join(
            f"{alias}.{one.name}{f'::{one.type} AS {one.name}' if _is_array(one) else ''}"
            for one in self.all_columns
        )

    def compile_row(self) -> Callable[..., tuple[object, ...]]:
        """Compiles a function that makes a row from the values of `given` and the stored object."""
        names: dict[str, Any] = {}
        values = [column.name for column in self.given]
        for column in self.columns:
            value = f"stored.{column.path}" if column.path else "stored"
            if column.write is not None:
                names[f"write_{column.name}"] = column.write
                value = f"write_{column.name}({value})"
            values.append(value)
        arguments = ", ".join([*(column.name for column in self.given), "stored"])
        return _compile(f"lambda {arguments}: ({', '.join(values)},)", names)

    def fields_of(self, entity: type[Any], at: str = "") -> dict[str, Column]:
        """The columns that hold fields of `entity`, by field.

        `at` is the attribute of the stored object under which the entity is; none: it is the
        stored object itself.
        """
        by_path = {
            column.path: column
            for column in self.all_columns
            if column.write is None or column.read is not None
        }
        paths = {one.name: f"{at}.{one.name}" if at else one.name for one in _init_fields(entity)}
        return {name: by_path[path] for name, path in paths.items() if path in by_path}

    def compile_reader[E](
        self, entity: type[E], at: str = "", **parts: Callable[[Record], object]
    ) -> Callable[[Record], E]:
        """As the function, with the columns of this table."""
        return compile_reader(entity, self.fields_of(entity, at), (), **parts)


def compile_reader[E](
    entity: type[E],
    columns: Mapping[str, Column],
    given: Sequence[str] = (),
    **parts: Callable[[Record], object],
) -> Callable[..., E]:
    """Compiles a function that makes an entity from a row, and from the values of fields `given`.

    `columns` are by field, as `fields_of` returns them. `parts` make fields from several columns.
    Other fields get their defaults.
    """
    names: dict[str, Any] = {"entity": entity}
    arguments = []
    for one in _init_fields(entity):
        if one.name in parts:
            names[f"make_{one.name}"] = parts[one.name]
            arguments.append(f"{one.name}=make_{one.name}(row)")
        elif one.name in given:
            arguments.append(f"{one.name}={one.name}")
        elif (column := columns.get(one.name)) is not None:
            value = f"row[{column.name!r}]"
            if column.read is not None:
                names[f"read_{one.name}"] = column.read
                value = f"read_{one.name}({value})"
            arguments.append(f"{one.name}={value}")
    values = ", ".join(["row", *given])
    return _compile(f"lambda {values}: entity({', '.join(arguments)})", names)


def arrays(rows: Iterable[Iterable[object]]) -> list[list[object]]:
    """One array a column, as `Table.unnest` takes them; none without rows."""
    return [list(column) for column in zip(*rows, strict=True)]


def array_text(texts: Iterable[str]) -> str:
    """An array of texts in the text form of PostgreSQL."""
    return "{" + ",".join(f'"{text.translate(_BACKSLASHED)}"' for text in texts) + "}"


def object_text(members: Mapping[str, object]) -> bytes:
    """A mapping as the text of a JSON object."""
    return msgspec.json.encode(dict(members))


def _init_fields(entity: type[Any]) -> list[Field[Any]]:
    return [one for one in fields(entity) if one.init]


def _is_array(column: Column) -> bool:
    return column.type.endswith("[]")


def _element(column: Column) -> str:
    return "text" if _is_array(column) else column.type


def _compile(source: str, names: dict[str, Any]) -> Callable[..., Any]:
    compiled: Callable[..., Any] = eval(source, names)  # noqa: S307 - from our own column specs alone
    return compiled

"""Nested configuration: frozen dataclasses from plain data, from a file, or from `KEY=VALUE` arguments.

pydantic checks names, types and bounds. This module turns what it finds into one line that names the field,
and knows no particular configuration.
"""

import ast
import difflib
import inspect
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from dino_rl.errors import ConfigError, first_line

T = TypeVar("T")
LINE_LENGTH, COMMENT_COLUMN = 100, 34  # of YAML that is written
MAX_DEPTH = 50  # of nested values in a configuration
MAX_FILE_BYTES = 1_000_000  # of a configuration; a larger file is something else


def from_dict(cls: type[T], data: Mapping[str, Any], path: str = "") -> T:
    """A (nested) dataclass from plain data, such as `dataclasses.asdict` gives and JSON or YAML keep.

    Args:
        cls: the dataclass.
        data: values by name; those of inner dataclasses may be instances already.
        path: of `data` in a larger configuration, for messages.

    Raises:
        ConfigError: a field that the dataclass does not have, or a value that the field cannot have.
    """
    from pydantic import ValidationError

    try:
        return _adapter(cls).validate_python(data)  # type: ignore[arg-type]
    except ValidationError as error:
        raise ConfigError(_describe(cls, error.errors()[0], path)) from error


def with_overrides(data: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Plain nested data with `a.b=value` assignments applied in order; values are read as YAML.

    Raises:
        ConfigError: an assignment without "=", a value that is no YAML, or a path through a plain value.
    """
    import yaml

    result = dict(data)
    for override in overrides:
        path, equals, text = override.partition("=")
        if not equals or not path:
            raise ConfigError(f"{override!r} is not KEY=VALUE: write for example dqn.learning_rate=1e-3.")
        try:
            value = _read_yaml(text)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise ConfigError(f"The value of {override!r} cannot be read: {first_line(error)}.") from error
        *parents, name = path.strip().split(".")
        section = result
        for parent in parents:
            inner = section.get(parent)
            if inner is not None and not isinstance(inner, Mapping):
                raise ConfigError(f"{path.strip()}: {parent} is a single value, not a section.")
            section[parent] = dict(inner or {})
            section = section[parent]
        section[name] = value
    return result


def _read_yaml(text: str) -> Any:
    """The value of a YAML text. Without aliases, with which a few lines can stand for gigabytes, and without
    deep nesting, which takes minutes."""
    import yaml

    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError("it has aliases (*name), which are not read")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise yaml.YAMLError("it is nested too deeply")
    return yaml.safe_load(text)


def load_file(path: Path) -> dict[str, Any]:
    """Plain data from a YAML file (JSON is YAML, too).

    Raises:
        ConfigError: the file cannot be read, or does not hold a mapping.
    """
    import yaml

    try:
        if path.exists() and not path.is_file():  # a named pipe could keep us waiting for ever
            raise ConfigError(f"Cannot read {path} (not a regular file).")
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigError(f"{path} is too large for a configuration file.")
        data = _read_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"Cannot read {path} ({error.strerror}).") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not a YAML file ({first_line(error)}).") from error
    if not isinstance(data, dict):
        raise ConfigError(
            f"{path} holds no configuration: its top level must be a mapping of names to values."
        )
    return data


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `changes`, section by section."""
    result = dict(base)
    for name, value in changes.items():
        old = result.get(name)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        result[name] = merge(old, value) if both else value  # type: ignore[arg-type]
    return result


def to_yaml(config: Any, comments: bool = True) -> str:
    """A dataclass as YAML text that `load_file` reads; sections that are None are left out.

    Args:
        config: a dataclass instance.
        comments: write the documentation of each field behind its value.
    """
    return "\n".join(_yaml_lines(config, 0, comments)) + "\n"


def field_docs(cls: type) -> dict[str, str]:
    """The documentation of each field of a dataclass: the string literal below it in the source."""
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if is_dataclass(base):
            docs |= _own_field_docs(base)
    return docs


def _own_field_docs(cls: type) -> dict[str, str]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError):  # no source at hand
        return {}
    body = tree.body[0].body  # type: ignore[attr-defined]
    return {
        field.target.id: inspect.cleandoc(doc.value.value)
        for field, doc in pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(doc, ast.Expr)
        and isinstance(doc.value, ast.Constant)
        and isinstance(doc.value.value, str)
    }


# --- Reading -----------------------------------------------------------------------------------------------


@cache
def _adapter(cls: type) -> Any:
    from pydantic import TypeAdapter, with_config

    # The configuration holds for the dataclasses inside, too.
    return TypeAdapter(with_config({"extra": "forbid", "allow_inf_nan": False})(cls))


def _describe(cls: type, error: Any, prefix: str) -> str:
    """One line for a user: which field, what is wrong with it, what would be right."""
    names = [part for part in error["loc"] if isinstance(part, str) and part.isidentifier()]
    name = ".".join([prefix] * bool(prefix) + names)
    if error["type"] == "unexpected_keyword_argument":
        unknown = str(error["loc"][-1])  # any text
        path = names[:-1] if unknown.isidentifier() else names
        section = ".".join([prefix] * bool(prefix) + path)
        name = _short(".".join([section] * bool(section) + [unknown]))
        known = _fields_at(cls, path)
        near = difflib.get_close_matches(unknown, known, 1, cutoff=0.6)
        right = f"{section}.{near[0]}" if near and section else "".join(near)
        right = right or "".join(_elsewhere(cls, unknown)[:1])
        if right:
            return f"Unknown field {name}: did you mean {right!r}?"
        return f"Unknown field {name}: {section or 'the top level'} has {', '.join(known)}."
    if error["type"] == "missing":
        return f"{name} is missing."
    message = error["msg"].removeprefix("Input ")
    return f"{name or 'A name'}: {_short(error['input'])} {message[0].lower() + message[1:]}."


def _fields_at(cls: type, path: list[str]) -> list[str]:
    for name in path:
        inner = dataclass_in(get_type_hints(cls).get(name))
        if inner is None:
            return []
        cls = inner
    return [field.name for field in fields(cls)]


def _elsewhere(cls: type, name: str, prefix: str = "") -> list[str]:
    """Full names of fields called `name` (or nearly so) in the sections of a dataclass."""
    found = []
    for field, hint in get_type_hints(cls).items():
        inner = dataclass_in(hint)
        if inner:
            path = f"{prefix}{field}."
            near = difflib.get_close_matches(name, [each.name for each in fields(inner)], 1, cutoff=0.8)
            found += [path + each for each in near] or _elsewhere(inner, name, path)
    return found


def dataclass_in(hint: Any) -> Any:
    """The dataclass of a type hint such as `C`, `C | None` or `Annotated[C, ...]`; None if there is none."""
    if isinstance(hint, type) and is_dataclass(hint):
        return hint
    if get_origin(hint) in (Union, UnionType) or hasattr(hint, "__metadata__"):
        return next(filter(None, map(dataclass_in, get_args(hint))), None)
    return None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


# --- Writing -----------------------------------------------------------------------------------------------


def _yaml_lines(config: Any, depth: int, comments: bool) -> list[str]:
    docs = field_docs(type(config)) if comments else {}
    indent = "  " * depth
    lines: list[str] = []
    for field in fields(config):
        value = getattr(config, field.name)
        doc = " ".join(docs.get(field.name, "").split())
        if is_dataclass(value):
            lines += _commented(f"{indent}{field.name}:", doc)
            lines += _yaml_lines(value, depth + 1, comments)
        elif value is not None or not dataclass_in(get_type_hints(type(config))[field.name]):
            lines += _commented(f"{indent}{field.name}: {_scalar(value)}", doc)
    return lines


def _commented(line: str, doc: str) -> list[str]:
    """A line with a comment behind it, or above it where the comment is long."""
    if not doc:
        return [line]
    together = f"{line:<{COMMENT_COLUMN}}  # {doc}"
    if len(together) <= LINE_LENGTH:
        return [together]
    indent = " " * (len(line) - len(line.lstrip()))
    prefix = f"{indent}# "
    return [*textwrap.wrap(doc, LINE_LENGTH, initial_indent=prefix, subsequent_indent=prefix), line]


def _scalar(value: Any) -> str:
    import yaml

    if isinstance(value, tuple):
        return "[" + ", ".join(map(_scalar, value)) + "]"
    if isinstance(value, float):
        return (
            repr(value) if "e" not in repr(value) else f"{value:.10f}".rstrip("0")
        )  # YAML 1.1 reads 1e-05 as text
    return yaml.safe_dump(value, default_flow_style=True).removesuffix("\n").removesuffix("\n...")

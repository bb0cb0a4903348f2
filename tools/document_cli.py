"""Write docs/cli.md, docs/json.md, docs/checks.md and docs/schemas/ from what runs; `--check` only says whether they are current.

The help texts and the document types are the one source: what stands in the documentation cannot differ from what runs.
"""

from __future__ import annotations

import inspect
import json
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, Literal, get_args, get_origin, get_type_hints, is_typeddict

import typer
from typer.core import TyperArgument, TyperGroup, TyperOption

from attest_cli import documents, release_documents
from attest_cli.main import app

DOCS: Final = Path(__file__).resolve().parent.parent / "docs"
_HEX: Final = get_args(documents.Hex)[1]
_TIME: Final = get_args(documents.Time)[1]
_MADE: Final = "<!-- made by tools/document_cli.py: change the help texts and document types, not this file -->\n"


# -- cli.md ---------------------------------------------------------------------------------------------------------------


def commands() -> Iterator[tuple[str, typer.core.TyperCommand]]:
    """Every command with its full name, in the order of ``attest --help``."""
    root = typer.main.get_command(app)
    context = typer.Context(root, info_name="attest")

    def walk(group: TyperGroup, name: str) -> Iterator[tuple[str, typer.core.TyperCommand]]:
        for verb in group.list_commands(context):
            command = group.get_command(context, verb)
            if isinstance(command, TyperGroup):
                yield from walk(command, f"{name} {verb}")
            elif isinstance(command, typer.core.TyperCommand):
                yield f"{name} {verb}", command

    if isinstance(root, TyperGroup):
        yield from walk(root, "attest")


def story() -> str:
    """The help of the command itself."""
    return inspect.cleandoc(typer.main.get_command(app).help or "")


def examples(text: str) -> list[str]:
    """The command lines of a help text, each as it would be pasted."""
    lines = text.replace("\\\n", "\\\0").split("\n")
    return [line.strip().replace("\\\0", "\\\n") for line in lines if line.startswith("  ") and "attest" in line]


def _fenced(text: str) -> str:
    """A help text with its indented lines as shell blocks."""
    made: list[str] = []
    inside = False
    for line in inspect.cleandoc(text).split("\n"):
        code = line.startswith("  ")
        if code is not inside:
            made.append("```sh" if code else "```")
            inside = code
        made.append(line[2:] if code else line)
    return "\n".join(made + ["```"] * inside)


def _parameters(command: typer.core.TyperCommand) -> Iterator[str]:
    rows = []
    for param in command.params:
        if isinstance(param, TyperArgument):
            rows.append((f"`{param.metavar or param.name}`", param.help or "", param.required))
        elif isinstance(param, TyperOption) and param.name != "help":
            names = ", ".join((*param.opts, *param.secondary_opts))
            value = "" if param.is_flag else f" {param.metavar or 'VALUE'}"
            rows.append((f"`{names}{value}`", param.help or "", param.required))
    if rows:
        yield "| argument | meaning |\n|---|---|"
        for name, text, required in rows:
            yield f"| {name} | {' '.join(text.split())}{' Required.' if required else ''} |"


def cli_page() -> str:
    """docs/cli.md."""
    parts = [_MADE, "# Command line\n", _fenced(story()), _RULES]
    for name, command in commands():
        parts += [f"\n## {name}\n", _fenced(command.help or ""), "", *_parameters(command)]
    return "\n".join(parts).rstrip() + "\n"


_RULES: Final = """
## Rules of all verbs

| exit code | meaning |
|---|---|
| 0 | yes, or done. Never on anything but yes |
| 1 | a bug of ours |
| 2 | usage: a bad argument, a missing or unreadable file |
| 3 | malformed input |
| 4 | not authentic: signature, chain, revoked |
| 5 | refused: authentic, but the floor, the policy or the broker says no |
| 6 | cannot decide: collateral, reference values or a policy are missing or stale |
| 130, 141 | stopped by the user; whoever read the output has gone |

A refusal with several reasons, and a command with several bundles, takes the first of 3, 4, 5, 6 that occurs.

Results go to stdout, talk to stderr. An error is `attest: error: ...`, with the stable code of the failed check in brackets, and is
followed by `attest: hint: ...` with the next step. `attest checks CODE` explains a code. Text that comes from evidence is made safe:
control characters, escape sequences and characters that reorder text are shown as escapes. Colours appear on terminals only, and not
when `NO_COLOR` is set. `attest --install-completion` installs completion for your shell.

Everything simulated says SIMULATED, in text, JSON and HTML.
"""


# -- schemas --------------------------------------------------------------------------------------------------------------


def schema_name(kind: type) -> str:
    """The schema that a document type is, or the empty text for a part of documents."""
    hint = get_type_hints(kind).get("schema")
    return str(get_args(hint)[0]) if get_origin(hint) is Literal else ""


def all_types() -> list[type]:
    """Every document type, in the order of the modules."""
    found = (*vars(documents).values(), *vars(release_documents).values())
    return list(dict.fromkeys(value for value in found if isinstance(value, type) and is_typeddict(value)))


def top_documents() -> dict[str, type]:
    """Schema name to document type, sorted."""
    return dict(sorted((schema_name(kind), kind) for kind in all_types() if schema_name(kind)))


def schema_of(name: str, top: type) -> dict[str, object]:
    """JSON Schema (2020-12) of one document. Consumers must accept members that they do not know."""
    definitions: dict[str, object] = {}
    body = _object(top, definitions)
    made: dict[str, object] = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": name, **body}
    if definitions:
        made["$defs"] = dict(sorted(definitions.items()))
    return made


def _object(kind: type, definitions: dict[str, object]) -> dict[str, object]:
    hints = get_type_hints(kind, include_extras=True)
    return {
        "description": inspect.cleandoc(kind.__doc__ or ""),
        "type": "object",
        "required": list(hints),
        "properties": {name: _type(hint, definitions) for name, hint in hints.items()},
    }


def _type(hint: object, definitions: dict[str, object]) -> dict[str, object]:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        notes = [note for note in hint.__metadata__ if note not in (_HEX, _TIME)]  # type: ignore[attr-defined]
        made = _type(arguments[0], definitions)
        if _HEX in hint.__metadata__:  # type: ignore[attr-defined]
            made["pattern"] = "^[0-9a-f]*$"
        if _TIME in hint.__metadata__:  # type: ignore[attr-defined]
            made["pattern"] = "^(\\d{4}-\\d{2}-\\d{2}T\\d{2}:\\d{2}:\\d{2}Z)?$"
        return made | ({"description": "; ".join(notes)} if notes else {})
    if isinstance(hint, type) and is_typeddict(hint):
        if hint.__name__ not in definitions:
            definitions[hint.__name__] = {}  # before its members: it may contain itself
            definitions[hint.__name__] = _object(hint, definitions)
        return {"$ref": f"#/$defs/{hint.__name__}"}
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [_type(item, definitions) for item in arguments]}
    if origin is list:
        return {"type": "array", "items": _type(arguments[0], definitions)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _type(arguments[1], definitions)}
    return {} if hint is object else {"type": _SIMPLE[hint]}


_SIMPLE: Final[dict[object, str]] = {str: "string", int: "integer", bool: "boolean", type(None): "null"}


# -- json.md --------------------------------------------------------------------------------------------------------------


def json_page() -> str:
    """docs/json.md."""
    parts = [_MADE, "# JSON output\n", _words_of(documents.__doc__), ""]
    parts += ["Integers may be larger than 2^53: read them with a parser that keeps them exact.\n", "| schema | command |", "|---|---|"]
    for name, top in top_documents().items():
        parts.append(f"| [{name}](schemas/{file_name(name)}) | {inspect.cleandoc(top.__doc__ or '')} |")
    for kind in all_types():
        title = schema_name(kind) or _title(kind)
        parts += [f"\n## {title}\n", inspect.cleandoc(kind.__doc__ or ""), "", "| member | type | meaning |", "|---|---|---|"]
        parts += [_row(name, hint) for name, hint in get_type_hints(kind, include_extras=True).items()]
    return "\n".join(parts) + "\n"


def _words_of(text: str | None) -> str:
    """A docstring's paragraphs after the first, which is about the module."""
    return inspect.cleandoc(text or "").partition("\n\n")[2].replace("``", "`")


def _title(kind: type) -> str:
    return kind.__name__.removesuffix("Doc")


def _row(name: str, hint: object) -> str:
    notes = "; ".join(hint.__metadata__) if get_origin(hint) is Annotated else ""  # type: ignore[attr-defined]
    return f"| `{name}` | {_words(hint)} | {notes} |"


def _words(hint: object) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _words(arguments[0])
    if isinstance(hint, type) and is_typeddict(hint):
        return f"[{_title(hint)}](#{_title(hint).lower()})"
    if origin is Literal:
        return " or ".join(f"`{json.dumps(item)}`" for item in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_words(item) for item in arguments)
    if origin is list:
        return f"list of {_words(arguments[0])}"
    if origin is dict:
        return f"map to {_words(arguments[1])}"
    return "anything" if hint is object else "text" if hint is str else _SIMPLE[hint]


# -- checks.md ------------------------------------------------------------------------------------------------------------


def checks_page() -> str:
    """docs/checks.md."""
    from attest_cli.checks import FAMILIES, everything

    found = everything()
    parts = [_MADE, "# Checks\n", inspect.cleandoc(_CHECKS)]
    for room in dict.fromkeys(item["room"] for item in found):
        parts += [f"\n## {room}\n", "| code | what | rule from | failure is | next step |", "|---|---|---|---|---|"]
        for item in found:
            if item["room"] == room:
                failure = "nothing: a limitation" if item["limitation"] else item["outcome"].replace("-", " ")
                cells = (f"`{item['id']}`", item["title"], item["source"], failure, item["fix"])
                parts.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    parts += [
        "\n## Formats\n",
        "Codes that begin with these are of malformed input; the refusal says where and what.\n",
        "| code | what |",
        "|---|---|",
    ]
    parts += [f"| `{room}.*` | {meaning} |" for room, meaning in FAMILIES.items()]
    return "\n".join(parts) + "\n"


_CHECKS: Final = """
Every code that a refusal can have. `attest checks CODE` prints the same. A check that failed ends with the exit code of its failure:
malformed 3, not authentic 4, refused 5, cannot decide 6; a check whose material is missing is not checked, which also ends in 6.
A limitation is what no evidence can show: it is never checked, always printed, and blocks nothing.
"""


# -- all ------------------------------------------------------------------------------------------------------------------


def file_name(schema: str) -> str:
    """ "attest-verify/1" is in attest-verify-1.json."""
    return schema.replace("/", "-") + ".json"


def pages() -> dict[Path, str]:
    """Every generated file and its content."""
    made = {DOCS / "cli.md": cli_page(), DOCS / "json.md": json_page(), DOCS / "checks.md": checks_page()}
    for name, top in top_documents().items():
        made[DOCS / "schemas" / file_name(name)] = json.dumps(schema_of(name, top), indent=2) + "\n"
    return made


def stale() -> list[str]:
    """Generated files that are not what they would be made to be, missing and surplus ones among them."""
    wanted = pages()
    found = [path.relative_to(DOCS).as_posix() for path, text in wanted.items() if not path.is_file() or path.read_text() != text]
    return found + [path.name for path in (DOCS / "schemas").glob("*.json") if path not in wanted]


def main() -> int:
    """Write, or with ``--check`` only compare."""
    if sys.argv[1:] == ["--check"]:
        for name in stale():
            print(f"docs/{name} is not current: python tools/document_cli.py")
        return 1 if stale() else 0
    for path, text in pages().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())

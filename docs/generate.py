"""Writes the reference pages that are made from the code: `python docs/generate.py`. A test compares them with the code."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import click
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from dune_prompt.settings.units import parse_duration, parse_fraction, parse_size

FOLDER = Path(__file__).parent / "reference"
WARNING = "<!-- Made by docs/generate.py from the code: change the code, then run it. -->\n"


def settings_page() -> str:
    """Every key of the site file and the campaign file."""
    from campaign.definition import Campaign
    from dune_prompt.settings import Site

    lines = [
        WARNING,
        "# Settings",
        "",
        "Two YAML files. An unknown key is an error; every error names file, line, key and what is allowed. Durations are written as",
        "`30s`, `10min`, `24h`, `7d`; sizes as `3GB`, `200TB`, `2GiB`; fractions as `90%`. Relative paths count from the file's folder.",
        "",
        "## The site file",
        "",
        "The operator's: one per installation. A commented example:",
        "",
        "```yaml",
        '--8<-- "examples/site.yaml"',
        "```",
        "",
        *model_table(Site),
        "## The campaign file",
        "",
        "The physicist's: as many as needed, kept in git. A commented example:",
        "",
        "```yaml",
        '--8<-- "examples/campaigns/pdhd-prompt.yaml"',
        "```",
        "",
        *model_table(Campaign),
    ]
    return "\n".join(lines).rstrip() + "\n"


def model_table(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """A table of a model's keys, then those of the models in it."""
    nested: list[tuple[str, type[BaseModel]]] = []
    yield from ("| key | what it is | default |", "|---|---|---|")
    for name, field in model.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        inner = list(dict.fromkeys(models_in(field.annotation)))
        many = "[]" if inner and "tuple" in str(field.annotation) else ""
        nested += [(f"{key}{many}.", item) for item in inner]
        yield f"| `{key}{many}` | {field.description} | {default_of(field)} |"
    yield ""
    for inner_prefix, item in nested:
        summary = (item.__doc__ or "").splitlines()[0]
        yield from (f"**`{inner_prefix.rstrip('.')}`**: {summary}", "")
        yield from model_table(item, inner_prefix)


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from models_in(argument)


def default_of(field: Any) -> str:
    """A field's default as one would write it."""
    value = field.default
    if field.is_required():
        return "needed"
    if value is None or value is PydanticUndefined or value == () or isinstance(value, BaseModel):
        return ""
    if isinstance(value, tuple):
        return "" if isinstance(value[0], BaseModel) else f"`[{', '.join(value)}]`"
    readers = {getattr(item, "func", None) for item in [*field.metadata, *_of_union(field.annotation)]}
    if parse_duration in readers:
        return f"`{next(f'{value / size:g}{unit}' for unit, size in (('h', 3600), ('min', 60), ('s', 1)) if value >= size)}`"
    if parse_size in readers:
        return f"`{next(f'{value / size:g}{unit}' for unit, size in (('GB', 10**9), ('MB', 10**6), ('B', 1)) if value >= size)}`"
    if parse_fraction in readers:
        return f"`{value:.0%}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _of_union(annotation: Any) -> list[Any]:
    """What is said about the members of a union, such as those of `DurationS | None`."""
    return [item for member in get_args(annotation) for item in getattr(member, "__metadata__", ())]


def states_page() -> str:
    """The states of tasks, attempts and files."""
    from campaign.retries import POLICIES
    from campaign.states import TRANSITIONS, AttemptState, TaskState
    from declare_daemon.journal.states import TRANSITIONS as FILE_TRANSITIONS
    from declare_daemon.journal.states import FileState

    lines = [WARNING, "# States", "", "## Tasks", "", "| state | a task in it | may go to |", "|---|---|---|"]
    lines += [
        f"| `{state}` | {state.sentence} | {', '.join(sorted(f'`{after}`' for after in TRANSITIONS[state])) or '-'} |"
        for state in TaskState
    ]
    lines += ["", "*late* is a mark, not a state: the deadline of a waiting task has passed, it goes after those that can still be prompt."]
    lines += ["", "## Attempts", "", "| state | an attempt in it |", "|---|---|"]
    lines += [f"| `{state}` | {state.sentence} |" for state in AttemptState]
    lines += ["", "## Failures", "", "| class | what happened | counts | tried again |", "|---|---|---|---|"]
    for name, policy in POLICIES.items():
        again = (
            f"after {policy.first_delay_s:g} s, doubling to at most {policy.longest_delay_s:g} s" if policy.again else "no: parked at once"
        )
        lines.append(f"| `{name}` | {policy.sentence} | {'yes' if policy.counts else 'no'} | {again} |")
    lines += ["", "## Files", "", "| state | a file in it | may go to |", "|---|---|---|"]
    for file_state in FileState:
        after = ", ".join(sorted(f"`{item}`" for item in FILE_TRANSITIONS[file_state])) or "-"
        lines.append(f"| `{file_state}` | {file_state.sentence} | {after} |")
    return "\n".join(lines) + "\n"


def cli_page() -> str:
    """The help of every command."""
    from dune_prompt.cli import program

    lines = [WARNING, "# Command line", ""]
    for path, command in commands(program, "dune-prompt"):
        context = click.Context(command, info_name=path, terminal_width=110, max_content_width=110, help_option_names=["-h", "--help"])
        lines += [f"## {path}", "", "```", command.get_help(context), "```", ""]
    return "\n".join(lines).rstrip() + "\n"


def commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=path)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None:
                yield from commands(child, f"{path} {name}")


PAGES = {"settings.md": settings_page, "states.md": states_page, "cli.md": cli_page}


def main(*, check: bool) -> None:
    """Write the pages, or with `check` only say which are out of date."""
    old = []
    for name, page in PAGES.items():
        path, text = FOLDER / name, page()
        if check:
            old += [name] if not path.exists() or path.read_text("utf-8") != text else []
        else:
            path.write_text(text, "utf-8")
    if old:
        sys.exit(f"out of date: {', '.join(old)}; run `python docs/generate.py`")


if __name__ == "__main__":
    main(check="--check" in sys.argv)

"""The documentation tells of everything there is, and what it shows is true."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import click
import pytest

REPOSITORY = Path(__file__).parent.parent
DOCS = REPOSITORY / "docs"


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["docs_generate"] = module
    spec.loader.exec_module(module)
    return module


def test_reference_pages_are_what_the_code_says() -> None:
    # In a process of its own: click keeps the help option of a command as it was first asked for.
    done = subprocess.run([sys.executable, str(DOCS / "generate.py"), "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_commands_in_the_guides_exist_with_their_options(generate: ModuleType) -> None:
    from dune_prompt.cli import program

    known = dict(generate.commands(program, "dune-prompt"))
    guides = [REPOSITORY / "README.md", *DOCS.glob("*.md")]
    for guide in guides:
        for line in re.findall(r"dune-prompt [a-z][^`\n#|]*", guide.read_text("utf-8")):
            words = line.split()
            path, rest = words[0], words[1:]
            while rest and f"{path} {rest[0]}" in known:
                path = f"{path} {rest.pop(0)}"
            if path == "dune-prompt":
                assert rest[0] not in ("declare", "campaign", "stage", "raw", "serve", "demo"), f"{guide.name}: {line}"
                continue
            options = {name for parameter in known[path].params if isinstance(parameter, click.Option) for name in parameter.opts}
            for word in rest:
                option = word.strip("[],;.)(").split("=")[0]
                if option.startswith("--"):
                    assert option in options, f"{guide.name}: {line}: no option {option}"


def test_every_link_from_the_readme_leads_somewhere() -> None:
    text = (REPOSITORY / "README.md").read_text("utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if "://" not in target:
            assert (REPOSITORY / target).exists(), target

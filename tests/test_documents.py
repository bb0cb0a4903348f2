"""Every command of the documents exits as its page states."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.documents import ROOT, run, steps

PAGES = ("tutorial.md", "policies.md", "audit.md")
TOOLS = {"audit.md": ("openssl", "jq", "git")}


@pytest.mark.parametrize("page", PAGES)
def test_every_command_exits_as_stated(page: str, tmp_path: Path) -> None:
    missing = [tool for tool in TOOLS.get(page, ()) if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"docs/{page} uses {', '.join(missing)}: install it to check the page")
    assert len(steps((ROOT / "docs" / page).read_text())) >= 10
    assert run(ROOT / "docs" / page, tmp_path / "run", show=False) == []


def test_a_command_that_exits_otherwise_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One\n```sh\ntrue\nfalse  # exit 1\n```\n## Two\n```sh\nfalse\ntrue  # exit 5\n```\n")
    wrong = run(page, tmp_path / "run", show=False)
    assert [problem.split(":")[1].strip() for problem in wrong] == ["false", "true"]


def test_every_page_that_is_linked_exists() -> None:

    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links {target}"


def test_every_file_of_ours_that_a_page_names_exists() -> None:
    form = re.compile(r"(?<![\w./])(?:(?:tests|tools|fixtures)/\w[\w./-]*\w|attest/\w+[\w/]*(?:\.py|/))(?![\w<*])")
    pages = (ROOT / "README.md", ROOT / "SECURITY.md", *(ROOT / "docs").glob("*.md"))
    named = {(page.name, path) for page in pages for path in form.findall(page.read_text())}
    assert len(named) > 20
    assert sorted(item for item in named if not (ROOT / item[1]).exists()) == []

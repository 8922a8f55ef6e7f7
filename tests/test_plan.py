"""The plan of the house: imports follow it, its picture is true, and every file that is named exists."""

import json
import pkgutil
import re
import runpy
from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports
from PIL import Image

ROOT = Path(__file__).parent.parent
FOLDERS = ("bert_tutorial", "tests", "benchmarks", "docs", "notebooks", ".ci")
NAMED = re.compile(
    rf"(?<![\w./-])((?:{'|'.join(map(re.escape, FOLDERS))})/[\w./*]+\.(?:py|cc|md|ipynb)\b)|`([\w/]+\.(?:py|cc))`"
)


def test_imports_point_down(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    if lint_imports(no_cache=True, no_logo=True) != EXIT_STATUS_SUCCESS:
        pytest.fail(capsys.readouterr().out)


def test_the_picture_shows_what_there_is():
    drawing = runpy.run_path(str(ROOT / "docs" / "draw_plan.py"))
    with Image.open(drawing["PICTURE"]) as picture:
        shown = json.loads(picture.text["plan"])
    assert shown == drawing["read_plan"](), "run: make plan"


def test_files_that_are_named_exist():
    """In documents, docstrings and comments: by the whole path, or in backquotes by its end."""
    files = [path for path in ROOT.iterdir() if path.is_file()]
    files += [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file()]
    ends = [f"/{path.relative_to(ROOT)}" for path in files]
    lost = [
        f"{path.relative_to(ROOT)} names {whole or end}"
        for path in files
        if path.suffix in (".py", ".cc", ".md") or path.name == "Makefile"
        for whole, end in NAMED.findall(path.read_text(encoding="utf-8"))
        if not (any(ROOT.glob(whole)) if whole else any(name.endswith(f"/{end}") for name in ends))
    ]
    assert not lost, "\n".join(lost)


def test_modules_that_are_named_exist():
    documents = [*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))]
    for name in sorted(
        {name for path in documents for name in re.findall(r"\bbert_tutorial(?:\.\w+)+", path.read_text())}
    ):
        pkgutil.resolve_name(name)

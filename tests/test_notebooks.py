"""Every notebook runs from top to bottom without a network, and is committed as a reader should find it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SOLUTIONS = sorted((ROOT / "notebooks" / "solutions").glob("*.ipynb"))


def ids(path):
    return path.stem if path in NOTEBOOKS else f"solutions-{path.stem}"


def read(path):
    return nbformat.read(path, as_version=4)


@pytest.fixture(params=NOTEBOOKS + SOLUTIONS, ids=ids)
def path(request):
    return request.param


@pytest.fixture
def notebook(path):
    return read(path)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def checks(notebook):
    return [cell for cell in code_cells(notebook) if "check" in cell.metadata.get("tags", [])]


def assert_checks_say(notebook, word):
    for cell in checks(notebook):
        printed = "".join(output.get("text", "") for output in cell.outputs)
        assert f": {word}." in printed, printed


def test_there_are_notebooks():
    assert NOTEBOOKS


@pytest.fixture(scope="module")
def offline():
    """Environment of a Python, and those that it starts, that reaches no other machine."""
    folders = [str(ROOT / "tests" / "offline"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(folders)}


@pytest.mark.parametrize("host", ["192.0.2.1", "example.org"])
def test_nothing_is_reached_offline(offline, host):
    program = f"import socket; socket.create_connection(({host!r}, 80), timeout=1)"
    result = subprocess.run([sys.executable, "-c", program], env=offline, capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    assert "offline: " in result.stderr.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.network
def test_notebook_runs(path, notebook, tmp_path, offline, minilm):
    client = NotebookClient(
        notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute(env=offline)
    assert not os.listdir(tmp_path), "a notebook leaves no files behind unasked"
    assert_checks_say(notebook, "not yet" if path in NOTEBOOKS else "right")
    if path in NOTEBOOKS:
        gigabytes, claimed = took(notebook)[1], claim(notebook)[1]
        assert 1 / 2 <= gigabytes / claimed <= 2


def claim(notebook):
    """Seconds and GB that the notebook's first cell tells the reader."""
    claimed = re.search(
        r"\*\*Time and memory\.\*\* About ([\d.]+) (seconds|minutes?) and ([\d.]+) GB of memory on two CPU cores",
        "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown"),
    )
    return float(claimed[1]) * (1 if claimed[2] == "seconds" else 60), float(claimed[3])


def took(notebook):
    """Seconds and GB that the notebook printed at its end."""
    printed = "".join(output.get("text", "") for cell in code_cells(notebook) for output in cell.outputs)
    found = re.search(r"the whole notebook took (\d+) s; peak memory ([\d.]+) GB", printed)
    return float(found[1]), float(found[2])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=ids)
def test_committed_time_and_memory_are_as_claimed(path):
    notebook = read(path)
    for claimed, measured in zip(claim(notebook), took(notebook), strict=True):
        assert 1 / 2 <= measured / claimed <= 2
    assert took(notebook)[0] <= 5 * 60


def test_committed_checks_fail_on_stubs_and_pass_on_solutions(path, notebook):
    assert_checks_say(notebook, "not yet" if path in NOTEBOOKS else "right")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=ids)
def test_solutions_answer_all_exercises_with_the_same_checks(path):
    solution = path.parent / "solutions" / path.name
    found = [cell.source for cell in checks(read(solution))] if solution.exists() else []
    assert found == [cell.source for cell in checks(read(path))]


def test_text_and_notebook_say_the_same(path, notebook):
    text = jupytext.read(path.parent / "text" / f"{path.stem}.md")
    assert [(c.cell_type, c.source) for c in text.cells] == [(c.cell_type, c.source) for c in notebook.cells]
    assert notebook.metadata["jupytext"]["formats"] == "ipynb,text//md"


def test_notebook_is_committed_executed_in_order(notebook):
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))


def test_outputs_are_clean(notebook):
    for cell in code_cells(notebook):
        for output in cell.outputs:
            assert output.output_type != "error"
            assert output.get("name") != "stderr", f"warnings or progress bars in the output: {output.text[:200]}"
            assert "application/vnd.jupyter.widget-view+json" not in output.get("data", {})
            assert str(Path.home()) not in str(output)
            assert str(ROOT) not in str(output)


def test_every_figure_has_alt_text(notebook):
    for cell in code_cells(notebook):
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                assert len(output.metadata.get("image/png", {}).get("alt", "")) > 20


def test_notebook_is_small(path):
    assert path.stat().st_size < 1_000_000


def test_readme_lists_every_notebook_with_its_time():
    rows = re.findall(
        r"\| \[[^]]+\]\(notebooks/(\w+)\.ipynb\) \|[^|]+\| ([\d.]+) (\w+) \|", (ROOT / "README.md").read_text()
    )
    times = {name: float(number) * {"seconds": 1}.get(unit, 60) for name, number, unit in rows}
    assert times == {path.stem: claim(read(path))[0] for path in NOTEBOOKS}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=ids)
def test_notebook_has_the_parts_a_reader_looks_for(path):
    notebook = read(path)
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    for part in ("Goal.", "Time and memory.", "You need", "Try it.", "Next."):
        assert f"**{part}**" in text
    for heading in ("## Summary", "## Exercises"):
        assert heading in text
    assert code_cells(notebook)[0].source.startswith('SCALE = "laptop"  # or "full"\n')
    assert 3 <= len(checks(notebook)) <= 5

"""In a real browser: a reader runs a notebook in JupyterLab; the book and the slides open without a network."""

import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from bert_tutorial.attention_view import attention_view

import nbformat
import numpy as np
import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright: make browser installs it")

ROOT = Path(__file__).parent.parent


def find_chromium():
    """Path of a Chromium that runs; Ubuntu has one that only says where to get it."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        path = shutil.which(name)
        if path and subprocess.run([path, "--version"], capture_output=True, timeout=60).returncode == 0:
            return path
    return None


CHROMIUM = find_chromium()
VIEW = """
from bert_tutorial.attention_view import attention_view
attention_view(["[CLS]", "good", "[SEP]"], np.stack([np.eye(3), np.roll(np.eye(3), 1, axis=1)])[None])
"""
WIDTH = "image => image.decode().then(() => image.naturalWidth)"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: sudo apt install chromium, or Google Chrome"),
]


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        as_root = ["--no-sandbox"] if os.getuid() == 0 else []  # Chromium refuses to start otherwise
        browser = started.chromium.launch(executable_path=CHROMIUM, args=as_root)
        yield browser
        browser.close()


@pytest.fixture
def page(browser):
    """A page that notes which addresses it loads, and what goes wrong."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.loaded, page.errors = [], []
    page.on("request", lambda request: page.loaded.append(request.url))
    page.on("requestfailed", lambda request: page.errors.append(f"{request.url}: {request.failure}"))
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    yield page
    page.close()


@pytest.fixture
def lab(tmp_path):
    """JupyterLab, as `make lab` starts it, on a copy of the first notebook, without its outputs and with an attention
    view as its sixth code cell; its address.
    """
    folder = tmp_path / "notebooks"
    folder.mkdir()
    notebook = nbformat.read(ROOT / "notebooks" / "00_first_steps.ipynb", as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    sixth = [place for place, cell in enumerate(notebook.cells) if cell.cell_type == "code"][5]
    notebook.cells.insert(sixth, nbformat.v4.new_code_cell(VIEW))
    nbformat.write(notebook, folder / "00_first_steps.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex()
    settings = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": port,
        "ServerApp.allow_root": True,
        "IdentityProvider.token": token,
        "LabApp.news_url": "",
        "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
    }
    options = [f"--{name}={value}" for name, value in settings.items()]
    own = {
        name: str(tmp_path / name)
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR", "IPYTHONDIR")
    }
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", "--no-browser", *options, str(folder)],
            env={**os.environ, **own},
            stdout=log,
            stderr=log,
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/api?token={token}", server, tmp_path / "log")
        yield f"http://127.0.0.1:{port}/lab/tree/00_first_steps.ipynb?token={token}"
    finally:
        server.terminate()
        server.wait(30)


def wait_for(address, server, log):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=10).close()
            return
        except urllib.error.URLError:
            time.sleep(0.2)
    pytest.fail(f"JupyterLab does not answer:\n{log.read_text()}")


def test_a_reader_runs_cells_changes_a_value_and_runs_again(page, lab, minilm):
    page.set_default_timeout(60_000)
    expect = playwright.expect
    page.goto(lab)
    cells = page.locator(".jp-Notebook .jp-CodeCell")
    expect(page.get_by_text("| Idle")).to_be_visible(timeout=60_000)  # the kernel, in the status bar

    def run(cell):
        """Click into a cell and press Shift+Enter; wait until it has run, and return what it printed."""
        runs.append(cell)
        cell.locator(".cm-content").click()
        page.keyboard.press("Shift+Enter")
        expect(cell.locator(".jp-InputPrompt")).to_have_text(f"[{len(runs)}]:", timeout=120_000)
        return cell.locator(".jp-OutputArea-output").first.inner_text()

    runs = []
    assert "seed 1" in run(cells.nth(0))
    assert "reviews to learn from" in run(cells.nth(1))
    assert "million parameters" in run(cells.nth(2))
    before = run(cells.nth(3))
    assert "'great'" in before
    run(cells.nth(4))
    assert cells.nth(4).locator("img").evaluate(WIDTH) > 0

    run(cells.nth(5))
    view = cells.nth(5).locator(".bert-attention")
    view.get_by_role("button").nth(1).hover()
    expect(view.get_by_role("status")).to_contain_text('Layer 1, head 1: "good" (piece 2) looks most at "good"')
    view.get_by_label("Head").select_option("2")
    expect(view.get_by_role("status")).to_contain_text('Layer 1, head 2: "good" (piece 2) looks most at "[SEP]"')

    editor = cells.nth(3).locator(".cm-content")
    editor.click()
    page.keyboard.press("ControlOrMeta+A")
    page.keyboard.insert_text('print(classifier.tokenizer("A dreadful film"))')
    after = run(cells.nth(3))
    assert "dreadful" in after
    assert "great" not in after
    assert all(re.match(r"http://127\.0\.0\.1:|data:|blob:", address) for address in page.loaded)


def test_attention_views_answer_to_mouse_and_keyboard(page, tmp_path):
    weights = np.zeros((2, 3, 4, 4))  # (layers, heads, L, L)
    for layer, head, i in np.ndindex(2, 3, 4):
        weights[layer, head, i, (i + head + layer) % 4] = 1
    views = [attention_view([f"{name}{i}" for i in range(4)], weights).data for name in "abc"]
    views[0] = re.sub(r' data-weights="[^"]*"', "", views[0])  # as a notebook shows it that is not trusted
    (tmp_path / "views.html").write_text("<!doctype html><meta charset=utf-8>" + "".join(views))
    page.goto((tmp_path / "views.html").as_uri())
    untrusted, first, second = page.locator(".bert-attention").all()
    status = [view.get_by_role("status") for view in (first, second)]
    expect = playwright.expect
    expect(untrusted).to_contain_text("Run the cell")
    expect(status[0]).to_contain_text('Layer 1, head 1: "b0" (piece 1) looks most at "b0" (piece 1): 1.00')

    first.get_by_role("button").nth(2).hover()
    expect(status[0]).to_contain_text('Layer 1, head 1: "b2" (piece 3) looks most at "b2"')
    first.get_by_label("Layer").select_option("2")
    first.get_by_label("Head").select_option("3")
    expect(status[0]).to_contain_text('Layer 2, head 3: "b2" (piece 3) looks most at "b1"')
    expect(first.get_by_role("button").nth(1)).to_contain_text("1.00")
    expect(status[1]).to_contain_text('Layer 1, head 1: "c0"')

    page.evaluate("document.addEventListener('keydown', () => window.heard = true, true)")  # as a notebook listens
    second.get_by_label("Layer").focus()
    for key in ("ArrowDown", "Tab", "ArrowDown", "Tab", "ArrowRight"):
        page.keyboard.press(key)
    expect(status[1]).to_contain_text('Layer 2, head 2: "c1" (piece 2) looks most at "c3"')
    expect(second.get_by_role("button").nth(1)).to_be_focused()
    page.keyboard.press("End")
    expect(status[1]).to_contain_text('"c3" (piece 4) looks most at "c1"')
    expect(status[0]).to_contain_text('Layer 2, head 3: "b2"')
    assert page.evaluate("window.heard") is None
    assert page.errors == []


@pytest.mark.parametrize("made", ["book", "slides"])
def test_every_page_opens_from_disk_without_a_network(page, request, made):
    folder = request.getfixturevalue(made)
    pages = sorted(folder.glob("**/*.html"))
    assert pages
    for path in pages:
        page.goto(path.as_uri())
        for image in page.locator("img").all():
            assert image.evaluate(WIDTH) > 0
            assert image.get_attribute("alt")
    assert [address for address in page.loaded if not address.startswith(("file:", "data:"))] == []
    assert page.errors == []


def test_the_book_is_leafed_through_and_searched(page, book):
    page.goto((book / "index.html").as_uri())
    page.locator(".sidebar-tree").get_by_text("First steps: from text").click()
    expect = playwright.expect
    expect(page.locator("h1")).to_contain_text("First steps")
    page.locator("a.next-page").click()
    expect(page.locator("h1")).not_to_contain_text("First steps")
    page.locator("a.prev-page").click()
    expect(page.locator("h1")).to_contain_text("First steps")
    page.locator("input.sidebar-search").fill("perplexity")
    page.keyboard.press("Enter")
    expect(page.locator("ul.search")).to_contain_text("Pre-training a small BERT")
    assert page.errors == []


def test_slides_move_on_by_keys(page, slides):
    page.goto((slides / "notebooks" / "00_first_steps.html").as_uri())
    page.keyboard.press("ArrowRight")
    playwright.expect(page.locator("section.present h2:visible")).to_contain_text("1. Import the library")
    assert page.errors == []

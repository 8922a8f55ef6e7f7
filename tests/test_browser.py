"""In a real browser: a reader runs cells in JupyterLab; the book and the slides open from disk, without a network."""

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

from bert_tutorial.course.attention_view import attention_view

import nbformat
import numpy as np
import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright: make browser installs it")

ROOT = Path(__file__).parent.parent
PATIENCE = 120_000  # ms for anything to appear: nothing is slow, but the machine may have other work
TOKENS = ["[CLS]", "a", "good", "film", "[SEP]"]
VIEW = f"""
import numpy as np
from bert_tutorial.course.attention_view import attention_view

scores = np.random.RandomState(1).rand(3, 2, {len(TOKENS)}, {len(TOKENS)})
weights = scores / scores.sum(axis=-1, keepdims=True)
attention_view({TOKENS}, weights)
"""


def find_chromium():
    """Path of a Chromium that runs; Ubuntu has one that only says where to get it."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        path = shutil.which(name)
        if path and subprocess.run([path, "--version"], capture_output=True, timeout=60).returncode == 0:
            return path
    return None


CHROMIUM = find_chromium()
WIDTH = "image => image.decode().then(() => image.naturalWidth)"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("pages"),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: sudo apt install chromium, or Google Chrome"),
]


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        as_root = ["--no-sandbox"] if os.getuid() == 0 else []  # Chromium refuses to start otherwise
        browser = started.chromium.launch(executable_path=CHROMIUM, args=as_root, timeout=PATIENCE)
        playwright.expect.set_options(timeout=PATIENCE)
        yield browser
        browser.close()


@pytest.fixture
def page(browser):
    """A page that notes which addresses it loads, and what goes wrong."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.set_default_timeout(PATIENCE)
    page.loaded, page.errors = [], []
    page.on("request", lambda request: page.loaded.append(request.url))
    page.on("requestfailed", lambda request: page.errors.append(f"{request.url}: {request.failure}"))
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    yield page
    page.close()


def write_without_outputs(notebook, path):
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(notebook, path)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """JupyterLab, started as by `make lab` with two notebooks not yet run: from the name of one to its address."""
    home = tmp_path_factory.mktemp("lab")
    folder = home / "notebooks"
    folder.mkdir()
    write_without_outputs(
        nbformat.read(ROOT / "notebooks" / "00_first_steps.ipynb", as_version=4), folder / "00_first_steps.ipynb"
    )
    view = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(VIEW.strip())])
    view.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(view, folder / "view.ipynb")
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
        name: str(home / name)
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR", "IPYTHONDIR")
    }
    with (home / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", "--no-browser", *options, str(folder)],
            env={**os.environ, **own},
            stdout=log,
            stderr=log,
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/api?token={token}", server, home / "log")
        # each in a workspace of its own, or the second would show the first one too
        yield lambda name: f"http://127.0.0.1:{port}/lab/workspaces/{name}/tree/{name}.ipynb?token={token}"
    finally:
        server.terminate()  # ends the kernels, too
        server.wait(60)


def wait_for(address, server, log):
    deadline = time.monotonic() + PATIENCE / 1000
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=10).close()
            return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"JupyterLab does not answer:\n{log.read_text()}")


class Notebook:
    """A notebook opened in JupyterLab, whose kernel is ready."""

    def __init__(self, page, address):
        self.page, self.runs = page, 0
        page.goto(address)
        playwright.expect(page.get_by_text("| Idle")).to_be_visible()  # the kernel, in the status bar
        self.cells = page.locator(".jp-Notebook .jp-CodeCell")

    def run(self, cell):
        """Click into a cell and press Shift+Enter; wait until it has run, and return what it printed."""
        self.runs += 1
        cell.locator(".cm-content").click()
        self.page.keyboard.press("Shift+Enter")
        playwright.expect(cell.locator(".jp-InputPrompt")).to_have_text(f"[{self.runs}]:")
        return cell.locator(".jp-OutputArea-output").first.inner_text()

    def write(self, cell, text):
        """Put `text` in the place of a cell's content."""
        cell.locator(".cm-content").click()
        self.page.keyboard.press("ControlOrMeta+A")
        self.page.keyboard.insert_text(text)


def assert_all_is_local(page):
    assert page.loaded
    assert all(re.match(r"http://127\.0\.0\.1:|data:|blob:", address) for address in page.loaded)


def test_a_reader_runs_cells_changes_a_value_and_runs_again(page, lab, minilm):
    notebook = Notebook(page, lab("00_first_steps"))
    cells = notebook.cells
    assert "seed 1" in notebook.run(cells.nth(0))
    assert "reviews to learn from" in notebook.run(cells.nth(1))
    assert "million parameters" in notebook.run(cells.nth(2))
    assert "'great'" in notebook.run(cells.nth(3))
    notebook.run(cells.nth(4))
    assert cells.nth(4).locator("img").evaluate(WIDTH) > 0
    notebook.write(cells.nth(3), 'print(classifier.tokenizer("A dreadful film"))')
    after = notebook.run(cells.nth(3))
    assert "dreadful" in after
    assert "great" not in after
    assert_all_is_local(page)


def shown(view):
    """The numbers below the word pieces of an attention view."""
    return [float(number) for number in view.locator(".tokens small").all_inner_texts()]


def choose(view, layer, head, piece):
    """Use the menus of an attention view, point at a word piece, and return what it says then."""
    view.get_by_label("Layer").select_option(str(layer))
    view.get_by_label("Head").select_option(str(head))
    view.locator(".tokens button").nth(piece - 1).hover()
    status = view.get_by_role("status")
    playwright.expect(status).to_contain_text(re.compile(rf'^Layer {layer}, head {head}: ".*" \(piece {piece}\) looks'))
    return status.inner_text()


def test_the_attention_view_answers_in_jupyterlab(page, lab):
    notebook = Notebook(page, lab("view"))
    notebook.run(notebook.cells.first)
    view = page.locator(".bert-attention")
    given = {}
    exec(VIEW, given)
    for layer, head, piece in ((1, 1, 1), (3, 2, 4), (2, 1, 2)):
        said = choose(view, layer, head, piece)
        weights = given["weights"][layer - 1, head - 1, piece - 1]
        assert shown(view) == pytest.approx(weights, abs=0.008)  # 1/255 is a step, and two decimals are printed
        assert f'"{TOKENS[piece - 1]}" (piece {piece}) looks most at "{TOKENS[np.argmax(weights)]}"' in said
    page.keyboard.press("Tab")  # from the menus on to the word pieces
    view.locator(".tokens button").nth(1).focus()
    page.keyboard.press("ArrowRight")  # a key that JupyterLab has another use for
    playwright.expect(view.get_by_role("status")).to_contain_text('"good" (piece 3) looks')
    assert_all_is_local(page)


def test_the_attention_view_answers_in_the_book(page, book):
    page.goto((book / "notebooks" / "08_looking_inside.html").as_uri())
    for view in page.locator(".bert-attention").all():
        said = [choose(view, *choice) for choice in ((1, 1, 1), (2, 3, 1), (2, 3, 2), (6, 12, 2))]
        assert len(set(said)) == 4
        assert sum(shown(view)) == pytest.approx(1, abs=0.01 * len(shown(view)))
    assert said, "no view in notebook 08"
    assert all(address.startswith(("file:", "data:")) for address in page.loaded)
    assert page.errors == []


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
        images = page.locator("img").evaluate_all(
            "all => Promise.all(all.map(async image => [await image.decode(), image.naturalWidth, image.alt]))"
        )
        assert all(width > 0 and text for _, width, text in images), path
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{path} is wider than the window"
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
    page.locator("ul.search").get_by_text("Pre-training a small BERT").first.click()
    expect(page.locator("h1")).to_contain_text("Pre-training a small BERT")
    assert page.errors == []


PLACE = """() => {
    const slide = Reveal.getCurrentSlide();
    const text = [...slide.querySelectorAll("pre, table, img")];
    return {
        slide: Reveal.getSlidePastCount(),
        top: slide.scrollTop,
        below: slide.scrollHeight - slide.clientHeight - slide.scrollTop,
        wide: text.filter(part => part.scrollWidth > part.clientWidth + 1).map(part => part.textContent),
    };
}"""


def test_the_space_bar_shows_all_of_every_slide(page, slides):
    """What is higher than the screen is scrolled before the next slide comes."""
    page.goto((slides / "notebooks" / "02_encoder.html").as_uri())
    page.wait_for_function("Reveal.isReady()")
    count = page.evaluate("Reveal.getTotalSlides()")
    places = [page.evaluate(PLACE)]
    while places[-1]["slide"] < count - 1 or places[-1]["below"] > 1:
        page.keyboard.press("Space")
        places.append(page.evaluate(PLACE))
        before, now = places[-2:]
        assert [place["slide"] for place in places].count(now["slide"]) < 20, "it stands still"
        assert now["wide"] == []
        if now["slide"] == before["slide"]:
            assert now["top"] > before["top"]
        else:
            assert now["slide"] == before["slide"] + 1
            assert now["top"] == 0
            assert before["below"] <= 1
    assert len(places) > count, "no slide is higher than the screen, so this tests nothing"
    assert page.errors == []


def test_slides_move_on_by_keys(page, slides):
    page.goto((slides / "notebooks" / "00_first_steps.html").as_uri())
    page.keyboard.press("ArrowRight")
    playwright.expect(page.locator("section.present h2:visible")).to_contain_text("1. Import the library")
    assert page.errors == []

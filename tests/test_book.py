"""`make book` and `make slides`: whole, and without a word to the network. test_browser.py opens them."""

import itertools
import re
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
FAR = re.compile(r"""(?:\burl\(\s*["']?|@import\s+["'])(?:https?:)?//""")  # in a style sheet

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("pages")]  # made once, for test_browser.py too


@pytest.fixture(params=["book", "slides"])
def folder(request):
    return request.getfixturevalue(request.param)


def read(path):
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def figure_texts(notebook):
    outputs = [output for cell in nbformat.read(notebook, as_version=4).cells for output in cell.get("outputs", [])]
    return [output.metadata["image/png"]["alt"] for output in outputs if "image/png" in output.get("data", {})]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_notebook_has_a_page_with_its_figures_and_their_texts(folder, notebook):
    page = read(folder / "notebooks" / f"{notebook.stem}.html")
    figures = page.select(".cell_output img")
    assert [figure["alt"] for figure in figures] == figure_texts(notebook)
    for figure in figures:
        assert (folder / "notebooks" / figure["src"]).is_file()
    outputs = [cell for cell in nbformat.read(notebook, as_version=4).cells if cell.get("outputs")]
    assert len(page.select(".cell_output")) == len(outputs)


def test_nothing_is_loaded_from_elsewhere(folder):
    styles = set()
    for path in folder.glob("**/*.html"):
        page = read(path)
        loaded = [tag["src"] for tag in page.select("[src]")] + [tag["href"] for tag in page.select("link[href]")]
        for address in loaded:
            assert not re.match(r"(?:https?:)?//", address), f"{path} loads {address}"
            file = (path.parent / re.sub(r"[?#].*", "", address)).resolve()
            assert file.exists(), f"{path} loads {address}, which is not there"
            styles |= {file} if file.suffix == ".css" else set()
    assert styles
    for path in styles:
        assert not FAR.search(path.read_text(encoding="utf-8")), f"{path} loads from elsewhere"


def test_links_lead_to_pages(folder):
    """Not to notebooks, nor to nowhere."""
    pages = {path.resolve(): read(path) for path in folder.glob("**/*.html")}
    for path, page in pages.items():
        for link in page.select("a[href]"):
            place, _, name = link["href"].partition("#")
            if re.match(r"\w+:", place):
                continue
            target = (path.parent / place).resolve() if place else path
            assert target.is_file(), f"{path} links to {link['href']}"
            assert target.suffix != ".ipynb", f"{path} links to {link['href']}"
            known = not name or name.startswith("/") or pages[target].find(id=name)  # "/": a slide of reveal.js
            assert known, f"{path} links to {link['href']}, which has no such place"


def test_contents_list_and_neighbours(book):
    pages = [f"notebooks/{path.stem}.html" for path in NOTEBOOKS]
    links = [link["href"] for link in read(book / "index.html").select(".sidebar-tree a[href]")]
    assert [link for link in links if link in pages] == pages
    titles = [link.text for link in read(book / "index.html").select(".sidebar-tree a[href*=notebooks]")]
    assert [title[:3] for title in titles[: len(pages)]] == [f"{path.name[:2]} " for path in NOTEBOOKS]
    for before, after in itertools.pairwise(pages):
        assert Path(after).name in [link["href"] for link in read(book / before).select("a.next-page")]
        assert Path(before).name in [link["href"] for link in read(book / after).select("a.prev-page")]


def test_slides_are_short(slides):
    """A slide ends at each heading and after each cell."""
    for notebook in NOTEBOOKS:
        page = read(slides / "notebooks" / f"{notebook.stem}.html")
        for slide in page.select("section:not(:has(section))"):
            assert len(slide.select(".cell")) <= 1
            assert len(slide.select("h1, h2, h3")) <= 1

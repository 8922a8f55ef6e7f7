"""Sphinx makes the notebooks a book (make book) and slides (make slides); both work without a network.

Sources are what is committed: nothing is executed here.
"""

import json
from pathlib import Path

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.writers.html5 import HTML5Translator
from sphinx_revealjs.nodes import revealjs_break
from sphinx_revealjs.writers import RevealjsSlideTranslator

project = "BERT, taken apart and put to work"
html_title = project
html_show_copyright = False
extensions = ["myst_nb", "sphinx_revealjs"]
exclude_patterns = ["docs/book", "notebooks/text", "notebooks/solutions/text", "**/.ipynb_checkpoints"]

suppress_warnings = ["myst.header"]  # solutions keep the heading levels of their notebooks

nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3  # links to a heading, as GitHub writes them

html_theme = "furo"
html_static_path = ["book.css"]
html_css_files = ["book.css"]
pygments_style = "a11y-high-contrast-light"
html_copy_source = False
html_show_search_summary = False  # it would be fetched, which browsers refuse to pages on disk
html_math_renderer = "mathml"

revealjs_style_theme = "white"
revealjs_static_path = ["slides.css", "slides.js"]
revealjs_css_files = ["pygments.css", "slides.css"]
revealjs_script_files = ["slides.js"]
revealjs_use_section_ids = True
revealjs_script_conf = {
    "width": 1280,
    "height": 800,
    "center": False,
    "transition": "none",
    "hash": True,  # the address names the slide
    "slideNumber": True,
}
nb_mime_priority_overrides = [
    ("revealjs", mime, priority) for priority, mime in enumerate(("text/html", "image/png", "text/plain"))
]


class SlideTranslator(RevealjsSlideTranslator):
    """Code is coloured as in the book, not by a script in the browser."""

    visit_literal_block = HTML5Translator.visit_literal_block


def add_alt_texts(app, doctree):
    """Give every figure of a notebook its alt text, which myst-nb leaves in the output's metadata."""
    path = Path(app.env.doc2path(app.env.docname))
    if path.suffix != ".ipynb":
        return
    outputs = [output for cell in json.loads(path.read_text())["cells"] for output in cell.get("outputs", [])]
    alts = [output["metadata"]["image/png"]["alt"] for output in outputs if "image/png" in output.get("data", {})]
    figures = [node for node in doctree.findall(nodes.image) if node.parent.get("mime_type") == "image/png"]
    for figure, alt in zip(figures, alts, strict=True):
        figure["alt"] = alt


def number_titles(app, env):
    """Put the number of a notebook before its title in every list of pages, as its file name has it."""
    for name, title in env.titles.items():
        if name.startswith("notebooks/"):
            for text in title, env.tocs[name].next_node(nodes.reference):
                text.insert(0, nodes.Text(f"{Path(name).name[:2]} "))


def write_mathml(as_block):
    """Browsers draw MathML themselves; MathJax would come from the network."""

    def visit(self, node):
        self.body.append(tex2mathml(node.astext(), as_block))
        raise nodes.SkipNode

    return visit, None


def break_slides(app, doctree, docname):
    """Begin a new slide after every cell, not only at headings."""
    if app.builder.name != "revealjs":
        return
    for cell in [node for node in doctree.findall(nodes.container) if "cell" in node["classes"]]:
        following = cell.next_node(descend=False, siblings=True)
        if following is not None and not isinstance(following, nodes.section):
            cell.parent.insert(cell.parent.index(cell) + 1, revealjs_break())


def setup(app):
    """See Sphinx."""
    app.set_translator("revealjs", SlideTranslator)
    app.add_html_math_renderer("mathml", inline_renderers=write_mathml(False), block_renderers=write_mathml(True))
    app.connect("doctree-read", add_alt_texts)
    app.connect("env-updated", number_titles)
    app.connect("doctree-resolved", break_slides)

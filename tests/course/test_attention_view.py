"""The interactive view: what is in its HTML. How it behaves is in test_browser.py."""

import base64
import re
from html.parser import HTMLParser

from bert_tutorial.course.attention_view import attention_view

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

VOID = {"br", "img", "input", "link", "meta"}


class Page(HTMLParser):
    """Elements in order: (tag, attributes); and the text inside of buttons."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.buttons, self.open = [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "button":
            self.buttons.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "button" in self.open:
            self.buttons[-1] += data

    def all(self, tag):
        return [attributes for own, attributes in self.elements if own == tag]


def random_weights(num_layers, num_heads, length):
    scores = np.random.RandomState(3).rand(num_layers, num_heads, length, length)
    return scores / scores.sum(axis=-1, keepdims=True)


def view(tokens, num_layers=2, num_heads=3):
    return attention_view(tokens, random_weights(num_layers, num_heads, len(tokens))).data


def test_menus_word_pieces_and_a_place_for_the_description():
    page = Page(view(["[CLS]", "good", "##ness", "[SEP]"]))
    assert not page.open
    assert page.buttons == ["[CLS]", "good", "##ness", "[SEP]"]
    assert len(page.all("select")) == len(page.all("label")) == 2
    assert len(page.all("option")) == 2 + 3
    roles = [attributes["role"] for _, attributes in page.elements if "role" in attributes]
    assert roles == ["group", "toolbar", "status"]
    assert all("aria-label" in attributes for _, attributes in page.elements if attributes.get("role") == "toolbar")


def test_weights_are_kept_to_a_255th():
    weights = random_weights(2, 3, 5)
    root = next(a for a in Page(attention_view("abcde", weights).data).all("div") if "data-weights" in a)
    found = np.frombuffer(base64.b64decode(root["data-weights"]), "uint8").reshape(weights.shape) / 255
    np.testing.assert_allclose(found, weights, atol=0.5001 / 255)


@given(st.lists(st.text(max_size=8), min_size=1, max_size=4))
def test_tokens_are_text_and_never_html(tokens):
    tokens = [token.replace("\r", "") for token in tokens]  # HTML knows no carriage return
    page = Page(view([*tokens, "</span></button><script>alert(1)</script>", '"<b onclick=x>&amp;']))
    assert page.buttons == [*tokens, "</span></button><script>alert(1)</script>", '"<b onclick=x>&amp;']
    assert len(page.all("script")) == 1
    assert not page.all("b")


def test_nothing_is_fetched_and_nothing_can_collide():
    html = view(["a", "b"])
    assert not re.search(r"https?:|//[a-z]|@import|url\(|\bsrc\b|\bhref\b|\bimport\b", html)
    assert not any("id" in attributes for _, attributes in Page(html).elements)
    assert view(["a", "b"]) == html  # so a notebook run twice does not change


def test_a_sentence_is_small():
    assert len(view(["word"] * 40, num_layers=6, num_heads=12)) < 200_000


def test_what_does_not_fit_is_refused():
    weights = random_weights(2, 3, 4)
    with pytest.raises(ValueError, match=r"\(2, 3, 4, 4\)"):
        attention_view(["a"] * 5, weights)
    with pytest.raises(ValueError, match="shape"):
        attention_view(["a"] * 4, weights[:, None])
    with pytest.raises(ValueError, match="softmax"):
        attention_view(["a"] * 4, weights * 10)
    with pytest.raises(ValueError, match="softmax"):
        attention_view(["a"] * 4, weights * np.nan)

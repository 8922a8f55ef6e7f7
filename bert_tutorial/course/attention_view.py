"""An attention map to play with: point at a word piece and see where it looks.

The view is one piece of HTML with its style and script inside, so it works in JupyterLab, in the classic notebook and
in the exported page, without a network. Several views on a page do not disturb each other: nothing in them has an id,
and the script starts every view that has not been started yet.
"""

import base64
import html

import numpy as np
from IPython.display import HTML

STYLE = """
.bert-attention { max-width: 60em; }
.bert-attention label { margin-right: 1.5em; }
.bert-attention select { font: inherit; }
.bert-attention .tokens { display: flex; flex-wrap: wrap; gap: 4px; margin: 8px 0; }
.bert-attention .tokens button {
  font: inherit; color: inherit; background: none; cursor: pointer;
  padding: 2px 5px; border: 2px solid transparent; border-radius: 4px;
}
.bert-attention .tokens button[aria-pressed=true] { border-color: #D55E00; }
.bert-attention .tokens button:focus-visible { outline: 2px solid currentColor; outline-offset: 1px; }
.bert-attention .tokens small { display: block; }
"""


SCRIPT = """
if (!window.bertAttentionKeys) {
  window.bertAttentionKeys = true;
  window.addEventListener("keydown", event => {
    const view = event.target.closest?.(".bert-attention");
    if (!view?.press) return;
    event.stopPropagation();  // the notebook has other uses for these keys, and listens first wherever it can
    view.press(event);
  }, true);
}
for (const view of document.querySelectorAll(".bert-attention")) {
  if (view.started || !view.dataset.weights) continue;  // a notebook that is not trusted loses its attributes
  view.started = true;
  const [layers, heads] = view.querySelectorAll("select");
  const buttons = [...view.querySelectorAll(".tokens button")];
  const tokens = buttons.map(button => button.firstChild.textContent);
  const bytes = atob(view.dataset.weights);
  const name = i => `"${tokens[i]}" (piece ${i + 1})`;
  let current = 0;

  function show() {
    const row = (layers.selectedIndex * heads.length + heads.selectedIndex) * tokens.length + current;
    const weights = tokens.map((_, i) => bytes.charCodeAt(row * tokens.length + i) / 255);
    buttons.forEach((button, i) => {
      button.style.background = `rgba(0, 114, 178, ${weights[i]})`;
      button.style.color = weights[i] > 0.9 ? "white" : "";  // below, the theme's own is easier to read
      button.lastChild.textContent = weights[i].toFixed(2);
      button.setAttribute("aria-pressed", i === current);
      button.tabIndex = i === current ? 0 : -1;
    });
    const most = [...tokens.keys()].sort((i, j) => weights[j] - weights[i]).slice(0, 3);
    view.querySelector("[role=status]").textContent =
      `Layer ${layers.value}, head ${heads.value}: ${name(current)} looks most at ` +
      most.map(i => `${name(i)}: ${weights[i].toFixed(2)}`).join(", ") + ".";
  }

  function choose(i) {
    current = Math.max(0, Math.min(tokens.length - 1, i));
    show();
  }

  buttons.forEach((button, i) => {
    button.addEventListener("mouseenter", () => choose(i));
    button.addEventListener("focus", () => choose(i));
  });
  view.press = event => {
    const places = {ArrowLeft: current - 1, ArrowRight: current + 1, Home: 0, End: tokens.length - 1};
    if (!buttons.includes(event.target) || !(event.key in places)) return;
    event.preventDefault();
    choose(places[event.key]);
    buttons[current].focus();
  };
  layers.addEventListener("change", show);
  heads.addEventListener("change", show);
  view.querySelector(".help").textContent =
    "Point at a word piece, or go there with Tab and the arrow keys. The numbers say how much it takes from each.";
  show();
}
"""


def attention_view(tokens, weights):
    """Show the attention of a text as an interactive view: choose layer and head, point at a word piece.

    Parameters
    ----------
    tokens : list of str
        Word pieces, (L,).
    weights : np.ndarray
        (layers, heads, L, L), rows as queries: `inspection.attention_weights(...)[:, 0]` for the first text. Rounded to
        1/255; every three of them take four bytes of the notebook.

    Returns
    -------
    IPython.display.HTML

    Raises
    ------
    ValueError
        The weights' shape does not fit the tokens, or they are not all between 0 and 1.
    """
    tokens, weights = list(tokens), np.asarray(weights)
    length = len(tokens)
    if weights.ndim != 4 or weights.shape[2:] != (length, length) or not weights.size:
        raise ValueError(
            f"weights must have the shape (layers, heads, {length}, {length}) for {length} tokens; got {weights.shape}"
        )
    if not (weights.min() >= 0 and weights.max() <= 1.001):  # rounding may lead a little above 1
        raise ValueError("weights must lie between 0 and 1: are they scores before the softmax?")
    rounded = np.round(255 * np.minimum(weights, 1)).astype("uint8")
    num_layers, num_heads = weights.shape[:2]
    # the small element waits for the number; without the script, the view is still the text with an explanation
    buttons = "".join(
        f'<button type="button"><span>{html.escape(token)}</span><small></small></button>' for token in tokens
    )
    return HTML(
        f"<style>{STYLE}</style>"
        '<div class="bert-attention" role="group" '
        f'aria-label="Attention of {num_layers} layers with {num_heads} heads over {length} word pieces" '
        f'data-weights="{base64.b64encode(rounded.tobytes()).decode()}">'
        f"{_menu('Layer', num_layers)}{_menu('Head', num_heads)}"
        f'<div class="tokens" role="toolbar" aria-label="word pieces">{buttons}</div>'
        '<p role="status"></p>'
        f'<p class="help">The attention of {num_layers} layers with {num_heads} heads over these word pieces. '
        "Run the cell, or trust the notebook, to see it.</p>"
        f"</div><script>{SCRIPT}</script>"
    )


def _menu(name, count):
    options = "".join(f"<option>{i}</option>" for i in range(1, count + 1))
    return f"<label>{name} <select>{options}</select></label>"

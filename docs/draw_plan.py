"""Draw docs/figures/plan.png, the library's rooms, their files and imports as they are: `make plan`."""

import ast
import io
import json
import re
from pathlib import Path

import grimp
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyBboxPatch
from matplotlib.textpath import TextPath
from PIL import Image
from PIL.PngImagePlugin import PngInfo

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "docs" / "figures" / "plan.png"
BERT = "BERT"
# From the roof down: each room's left and right edge in pixels, and its files of the top folder; a folder is a room.
FLOORS = [
    {
        "Doors": (0, 430, ["__init__", "__main__", "bootstrap", "cli", "options", "printing", "doctor"]),
        "course/": (450, 900, []),
    },
    {
        "Trainings, what is kept, search, what to beat": (
            60,
            840,
            ["pretraining", "finetuning", "contrastive", "classifier", "search", "baselines", "task_baselines"],
        )
    },
    {"tasks/": (60, 840, [])},
    {"weights/": (0, 470, []), "training/": (490, 900, [])},
    {"text/": (0, 410, []), "The same in 16 and 8 bits": (500, 900, ["precision", "quantization"])},
    {BERT: (430, 900, ["heads", "encoder", "blocks"])},
    {"machine/": (0, 900, [])},
]
ROOMS = {title: room for floor in FLOORS for title, room in floor.items()}
COLUMNS = {"machine/": 2}
COLORS = {BERT: "#ffe08a", "course/": "#d9ead3", "machine/": "#e4e4e4"}
NOTES = {BERT: "Read it first, from the ground up: blocks.py, encoder.py, heads.py"}
SHORT = 60  # letters
WIDTH, LINE, GAP, PADDING = 900, 17, 36, 10  # pixels
DPI = 100  # that of a picture of this width
PLAIN, ITALIC, BOLD = (
    {"size": 8.6, **looks} for looks in ({"color": "#333333"}, {"style": "italic"}, {"weight": "bold"})
)
ARROW = {"arrowstyle": "-|>", "color": "#333333", "linewidth": 1.4, "mutation_scale": 13, "shrinkA": 0, "shrinkB": 0}


def read_plan():
    """What there is to draw.

    Returns
    -------
    dict
        "rooms": of each, what it is for, and the first words of each of its files; "arrows": pairs of rooms, of which
        the first imports the second, without those that follow from others.

    Raises
    ------
    LookupError
        A file stands in no room of `FLOORS`.
    """
    graph = grimp.build_graph("bert_tutorial", cache_dir=None)
    room_of = {module: _room_of(module) for module in graph.modules if module != "bert_tutorial"}
    imports = {
        (room_of[module], room_of[imported])
        for module in room_of
        for imported in graph.find_modules_directly_imported_by(module)
        if room_of[module] != room_of[imported]
    }
    rooms = {title: _read_room(title, files) for title, (_, _, files) in ROOMS.items()}
    return {"rooms": rooms, "arrows": sorted(map(list, _without_detours(imports)))}


def _room_of(module):
    """The room of `bert_tutorial.text.words` or `bert_tutorial.cli`."""
    top = module.split(".")[1]
    for title, (_, _, files) in ROOMS.items():
        if top in files or f"{top}/" == title:
            return title
    raise LookupError(f"find a room for {module} in FLOORS of docs/draw_plan.py")


def _read_room(title, files):
    """What a room is for, and what its files are; if there are many, a long line ends at its first pause."""
    folder = ROOT / "bert_tutorial"
    if files:
        return {
            "for": NOTES.get(title, ""),
            "files": {f"{file}.py": _first_line(folder / f"{file}.py") for file in files},
        }
    folder /= title
    paths = [path for path in sorted(folder.iterdir()) if path.suffix in (".py", ".cc") and path.stem != "__init__"]
    lines = {path.name: _first_line(path) for path in paths}
    short = {name: line if len(line) <= SHORT else re.split(r"[:;,] ", line)[0] for name, line in lines.items()}
    return {"for": _first_line(folder / "__init__.py"), "files": short}


def _first_line(path):
    """The first sentence of a file's first line."""
    text = path.read_text(encoding="utf-8")
    line = (ast.get_docstring(ast.parse(text)) if path.suffix == ".py" else text).splitlines()[0]
    return re.split(r"\.(?: |$)|(?<=\?) ", line.lstrip("/ ").replace("`", ""))[0].removesuffix(":")


def _without_detours(pairs):
    """The pairs that do not follow from others, if what is imported of imported is imported."""

    def reached(start, pairs):
        found = {end for begin, end in pairs if begin == start}
        return found.union(*(reached(end, pairs) for end in found))

    return {pair for pair in pairs if pair[1] not in reached(pair[0], pairs - {pair})}


def draw(plan):
    """Draw it, with what it shows in the picture's own text, for tests/test_plan.py to compare."""
    laid_out = {title: _lay_out(title, room) for title, room in plan["rooms"].items()}
    boxes = _place({title: height for title, (_, height) in laid_out.items()})
    height = max(bottom for _, _, _, bottom in boxes.values())
    figure = Figure(figsize=((WIDTH + 10) / DPI, (height + 10) / DPI))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-5, WIDTH + 5), ylim=(height + 5, -5))
    axes.axis("off")
    for title, (left, right, top, bottom) in boxes.items():
        box = FancyBboxPatch(
            (left, top),
            right - left,
            bottom - top,
            boxstyle="round,pad=0,rounding_size=6",
            facecolor=COLORS.get(title, "#eaf2fb"),
            edgecolor="#555555",
        )
        axes.add_patch(box)
        for x, y, text, looks in laid_out[title][0]:
            axes.text(left + x, top + y, text, va="baseline", parse_math=False, **looks)
    bent = [pair for pair in plan["arrows"] if not _draw_straight(axes, *(boxes[title] for title in pair))]
    for pair in bent:
        _draw_bent(axes, *(boxes[title] for title in pair))
    _save(figure, plan)


def _lay_out(title, room):
    """The texts of a room, with x, y and looks of each, and the height that they take."""
    left, right, _ = ROOMS[title]
    texts = [(PADDING, 20, title, {"size": 10.5, "weight": "bold"})]
    y = 20
    for line in _wrap(room["for"], right - left - 2 * PADDING, ITALIC):
        y += LINE
        texts.append((PADDING, y, line, ITALIC))
    files, columns = list(room["files"].items()), COLUMNS.get(title, 1)
    rows = -(-len(files) // columns)
    width = (right - left) / columns
    start = bottom = y + 3
    for column in range(columns):
        y = start
        shown = files[column * rows : (column + 1) * rows]
        indent = max(_width(name, BOLD) for name, _ in shown) + 14
        x = PADDING + column * width
        for name, words in shown:
            texts.append((x, y + LINE, name, BOLD))
            for line in _wrap(words, width - indent - 2 * PADDING, PLAIN):
                y += LINE
                texts.append((x + indent, y, line, PLAIN))
        bottom = max(bottom, y)
    return texts, bottom + PADDING


def _wrap(text, width, looks):
    """Lines of no more than this width."""
    lines = []
    for word in text.split():
        if lines and _width(f"{lines[-1]} {word}", looks) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _width(text, looks):
    font = FontProperties(**{name: value for name, value in looks.items() if name != "color"})
    return TextPath((0, 0), text, prop=font).get_extents().width * DPI / 72


def _place(heights):
    """Left, right, top and bottom of each room: below what stands above it, all rooms of a floor at one height."""
    boxes = {}
    for floor in FLOORS:
        above = [
            boxes[title][3] + GAP
            for title in boxes
            if any(ROOMS[title][0] < right and left < ROOMS[title][1] for left, right, _ in floor.values())
        ]
        top = max(above, default=0)
        boxes |= {title: (left, right, top, top + heights[title]) for title, (left, right, _) in floor.items()}
    return boxes


def _draw_straight(axes, above, below):
    """Draw an arrow straight down, if the one stands above the other."""
    left, right = max(above[0], below[0]), min(above[1], below[1])
    if left >= right:
        return False
    x = (left + right) / 2
    axes.annotate("", (x, below[2]), (x, above[3]), arrowprops=ARROW)
    return True


def _draw_bent(axes, above, below):
    """Draw an arrow down, across and down again; it interrupts those that it crosses."""
    inset = 40
    begin, end = (above[0] + inset, below[1] - inset) if below[0] < above[0] else (above[1] - inset, below[0] + inset)
    y = below[2] - GAP / 2
    axes.plot([begin, end], [y, y], color="white", linewidth=7, zorder=4, solid_capstyle="butt")
    axes.plot([begin, begin, end], [above[3], y, y], color=ARROW["color"], linewidth=ARROW["linewidth"], zorder=5)
    axes.annotate("", (end, below[2]), (end, y), arrowprops=ARROW, zorder=5)


def _save(figure, plan):
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=1.5 * DPI)
    text = PngInfo()
    text.add_text("plan", json.dumps(plan))
    Image.open(drawn).convert("RGB").quantize(16).save(PICTURE, optimize=True, pnginfo=text)


if __name__ == "__main__":
    draw(read_plan())

"""The public functions, classes and methods of Python files, by the names under which they are imported.

The files are read, not run.
"""

import ast
import re
import warnings
from functools import cache
from typing import NamedTuple

PASSED = re.compile(r"^(self|cls|_cls)\b(, /)?(, )?")  # what Python itself passes to a method
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class Definition(NamedTuple):
    """A function, a class or a method."""

    name: str  # dotted, as it is imported
    docstring: str
    signature: str  # "argsort(a, axis=-1)"; of a class that has no __init__ of its own, its name alone
    module: str  # where its source stands


class Module(NamedTuple):
    """What counts of a Python file."""

    docstrings: list  # ((name, ...), docstring, signature) of its functions and classes, and of the classes' own
    defined: set  # names of its functions and classes
    imported: list  # (module, name there, name here)
    starred: list  # modules that it imports all of
    exported: set | None  # its __all__, where that is a plain list


def read_definitions(files):
    """Yield all that is public in Python files and has a docstring.

    Parameters
    ----------
    files : iterable of path
        Each lies where Python imports it from.

    Yields
    ------
    Definition
    """
    modules = {_module_name(file): _read(file) for file in files}
    known_as = _shorter_names(modules)
    for module, found in modules.items():
        for (first, *rest), docstring, signature in found.docstrings:
            name = ".".join([known_as.get((module, first)) or f"{module}.{first}", *rest])
            if not _is_private(name):
                yield Definition(name, docstring, signature, module)


def _is_private(name):
    return any(part.startswith("_") for part in name.split("."))


@cache
def _package(folder):
    """The dotted name of a folder, with a dot at its end; "" if it is no package."""
    return f"{_package(folder.parent)}{folder.name}." if (folder / "__init__.py").is_file() else ""


def _module_name(file):
    return (_package(file.parent) + file.stem).removesuffix(".__init__")


def _read(file):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes that are out of date
        try:
            body = ast.parse(file.read_bytes()).body
        except (SyntaxError, ValueError, RecursionError, MemoryError):  # a template, another Python's, nested deeply
            body = []
    found = Module([], set(), [], [], None)
    for node in _statements(body):
        if isinstance(node, DEFINITIONS):
            found.defined.add(node.name)
            found.docstrings.extend(_docstrings(node))
        elif isinstance(node, ast.ImportFrom):
            source = _absolute(node, file)
            if node.names[0].name == "*":
                found.starred.append(source)
            else:
                found.imported.extend((source, alias.name, alias.asname or alias.name) for alias in node.names)
        elif isinstance(node, ast.Assign | ast.AugAssign) and "__all__" in map(
            _target, getattr(node, "targets", [node])
        ):
            found = found._replace(exported=_plain_list(node))
    return found


def _target(node):
    """The name that is assigned to."""
    return getattr(getattr(node, "target", node), "id", None)


def _plain_list(node):
    """What is assigned, as a set; None if it is computed, or added to something."""
    try:
        return set(ast.literal_eval(node.value)) if isinstance(node, ast.Assign) else None
    except ValueError:
        return None


def _statements(body):
    """Those of a module or class, with those of both branches of an if or try."""
    for node in body:
        if isinstance(node, ast.If | ast.Try):
            handlers = [statement for handler in getattr(node, "handlers", ()) for statement in handler.body]
            yield from _statements([*node.body, *handlers, *node.orelse])
        else:
            yield node


def _docstrings(node, outer=()):
    """Yield (names, docstring, signature) of a function or class, and of the class's own, if they are public."""
    if node.name.startswith("_"):
        return
    names = (*outer, node.name)
    if docstring := ast.get_docstring(node):
        yield names, docstring, _signature(node, in_class=bool(outer))
    if isinstance(node, ast.ClassDef):
        for inner in _statements(node.body):
            if isinstance(inner, DEFINITIONS):
                yield from _docstrings(inner, names)


def _signature(node, in_class):
    """Name and parameters as they are written, without those that Python itself passes, or what types they have."""
    function = node
    if isinstance(node, ast.ClassDef):
        inits = [inner for inner in _statements(node.body) if getattr(inner, "name", None) == "__init__"]
        if not inits:
            return node.name
        function, in_class = inits[0], True
    every = function.args
    for argument in filter(None, [*every.posonlyargs, *every.args, every.vararg, *every.kwonlyargs, every.kwarg]):
        argument.annotation = None
    written = ast.unparse(every)
    return f"{node.name}({PASSED.sub('', written) if in_class else written})"


def _absolute(node, file):
    """The module that is imported from, also in `from ..x import y`."""
    if not node.level:
        return node.module
    package = _package(file.parent).removesuffix(".").split(".")
    return ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])


def _shorter_names(modules):
    """What (module, name) is known as where a package imports it for its users, or a module of a hidden one.

    `numpy.core.fromnumeric.argsort` is known as `numpy.argsort`, `_pydecimal.Decimal` as `decimal.Decimal`.
    """
    known_as, offers = {}, {}
    for module in sorted(modules, key=lambda name: (name.count("."), name)):
        for name, (origin, original) in _offered(module, modules, offers).items():
            hidden = origin.startswith("_") and origin in modules[module].starred
            if not _is_private(f"{module}.{name}") and (origin.startswith(f"{module}.") or hidden):
                known_as.setdefault((origin, original), f"{module}.{name}")
    return known_as


def _offered(module, modules, offers):
    """What can be imported from a module: {name: (module that defines it, its name there)}; kept in `offers`."""
    if module not in modules:
        return {}
    if module not in offers:
        offers[module] = own = {name: (module, name) for name in modules[module].defined}  # for imports in a circle
        for source in modules[module].starred:
            exported = modules[source].exported if source in modules else None
            for name, origin in _offered(source, modules, offers).items():
                if not name.startswith("_") and (exported is None or name in exported):
                    own.setdefault(name, origin)
        for source, name, here in modules[module].imported:
            if origin := _offered(source, modules, offers).get(name):
                own.setdefault(here, origin)
    return offers[module]

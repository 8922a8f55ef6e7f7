"""Stand-ins for Arm's libraries, which MXNet's build for Linux on ARM wants and no package index has.

That build was linked with Arm Performance Libraries. Of libarmpl_lp64_mp.so it takes matrix products and linear
algebra, and the stand-in passes each call on to the OpenBLAS of the package scipy-openblas32, whose functions have the
same names after "scipy_". Of libamath.so and libastring.so it takes faster versions of what the C library has too, so
these two may be empty.

Nothing is changed in MXNet's folder, and LD_LIBRARY_PATH need not be set: where a library wants another by its name,
the system's loader takes one of that name that the process has loaded.
"""

import ctypes
import platform
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from .chosen import chosen
from .compiling import compiled_library, find_compiler, first_error

STAND_IN, *EMPTY = "libarmpl_lp64_mp.so", "libamath.so", "libastring.so"
JUMPS = {"aarch64": "b", "x86_64": "jmp"}  # leave the arguments, whatever they are, where the caller put them


def load_arm_libraries():
    """On Linux aarch64, make and load the stand-ins, so that `import mxnet` finds them in the process.

    Raises
    ------
    ImportError
        They could not be made: no C compiler, or no OpenBLAS.
    """
    if (sys.platform, platform.machine()) != ("linux", "aarch64"):
        return
    try:
        mxnet, openblas = _folder_of("mxnet"), _folder_of("scipy_openblas32")
        made_of = load_stand_in(mxnet / "libmxnet.so", openblas / "lib" / "libscipy_openblas.so")
        for name in EMPTY:
            load_empty(name)
    except (OSError, subprocess.SubprocessError, PackageNotFoundError) as error:
        raise ImportError(
            "MXNet's build for ARM needs Arm Performance Libraries, and stand-ins for them could not be made: "
            f"{first_error(error)}. They take a C compiler and OpenBLAS: apt install gcc (Debian, Ubuntu) or dnf "
            "install gcc (Fedora), and pip install scipy-openblas32"
        ) from None
    chosen.arm_libraries = made_of


def _folder_of(package):
    spec = find_spec(package)
    if spec is None:
        raise PackageNotFoundError(package)
    return Path(spec.origin).parent


def load_stand_in(library, openblas):
    """Load OpenBLAS, and a library that offers under their own names those of its functions that `library` calls.

    Parameters
    ----------
    library, openblas : Path
        Of the two shared libraries.

    Returns
    -------
    str
        OpenBLAS's version and how it was built.
    """
    blas = ctypes.CDLL(str(openblas))

    def arguments(folder):
        names = [name for name in undefined_names(library) if hasattr(blas, f"scipy_{name}")]
        return [_write(folder, assembly(names, platform.machine())), openblas]

    config = blas.scipy_openblas_get_config
    config.restype = ctypes.c_char_p
    config = config().decode().strip()
    ctypes.CDLL(str(_compiled(STAND_IN, [config, version("mxnet")], arguments)))
    return config


def load_empty(name):
    """Load a library of this name that offers nothing."""
    ctypes.CDLL(str(_compiled(name, [], lambda folder: [_write(folder, assembly([], platform.machine()))])))


def undefined_names(library):
    """The names of functions that a shared library takes from others, as `nm` of the compiler's binutils lists them."""
    listed = subprocess.run(
        ["nm", "--dynamic", "--undefined-only", library], check=True, capture_output=True, text=True, timeout=60
    )
    return sorted(set(re.findall(r"^ +U (\w+)$", listed.stdout, re.MULTILINE)))  # not name@version: the C library's


def assembly(names, machine):
    """The source of a library in which each of the functions goes on in OpenBLAS's."""
    functions = [f".globl {name}\n.type {name}, %function\n{name}: {JUMPS[machine]} scipy_{name}" for name in names]
    return "\n".join([".text", *functions, '.section .note.GNU-stack, "", %progbits', ""])


def _write(folder, text):
    source = folder / "stand_in.s"
    source.write_text(text)
    return source


def _compiled(name, ingredients, arguments):
    flags = ["-shared", "-fPIC", "-nostdlib", f"-Wl,-soname,{name}"]
    compiler = find_compiler("CC", "cc")
    return compiled_library(Path(name).stem, f"a stand-in for {name}", compiler, flags, ingredients, arguments)

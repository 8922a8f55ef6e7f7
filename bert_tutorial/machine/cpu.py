"""The CPU: its cores that this process may use, its instruction sets, and the BLAS kernels that suit it."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import psutil


def usable_cores():
    """Number of physical cores this process may use.

    Hyper-threads do not count (matrix products gain nothing from them); a CPU affinity mask and a container's CPU quota
    do.
    """
    logical = range(os.cpu_count() or 1)
    cores = _physical_cores(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else logical)
    return min(cores, _cgroup_cpus() or cores)


def _physical_cores(cpus, folder="/sys/devices/system/cpu"):
    """How many cores these logical CPUs, given by number, belong to."""
    try:
        return len({Path(folder, f"cpu{cpu}/topology/thread_siblings_list").read_text() for cpu in cpus})
    except OSError:  # not Linux, or hidden from a container
        return min(len(cpus), psutil.cpu_count(logical=False) or len(cpus))  # None on some machines


def _cgroup_cpus(path="/sys/fs/cgroup/cpu.max"):
    try:
        quota, period = Path(path).read_text().split()
        return max(1, round(int(quota) / int(period)))
    except (OSError, ValueError):  # no cgroup v2 here, or "max": no limit
        return None


def cpu_flags():
    """Instruction sets of this CPU as a set of lower-case names; empty where the system does not tell."""
    try:
        if sys.platform == "darwin":
            keys = ["machdep.cpu.features", "machdep.cpu.leaf7_features"]
            found = subprocess.run(["sysctl", "-n", *keys], capture_output=True, text=True, timeout=10)
            return set(found.stdout.lower().split())
        return _flags_of_cpuinfo(Path("/proc/cpuinfo").read_text(), platform.machine())
    except (OSError, subprocess.SubprocessError):
        return set()


def _flags_of_cpuinfo(text, machine):
    """The first CPU's; an emulated ARM machine may show the flags of the x86 CPU below it, which do not count."""
    title = "Features" if machine.startswith(("aarch64", "arm")) else "flags"
    return set(next((line.split(":")[1].lower().split() for line in text.splitlines() if line.startswith(title)), []))


def compiler_flags(machine, flags):
    """What tells GCC and Clang to compile for this very CPU, and nothing for one that they could not tell.

    An ARM CPU without instruction sets is emulated, or hidden: there the compilers read another one's.

    Parameters
    ----------
    machine : str
        As platform.machine() names it.
    flags : set of str
        As cpu_flags() gives it.
    """
    if machine.lower() in {"x86_64", "amd64", "i386", "i686"}:
        return ["-march=native", *(["-mprefer-vector-width=512"] if "avx512f" in flags else [])]
    if machine.lower() in {"aarch64", "arm64"} and flags:
        return ["-mcpu=native"]  # -march=native leaves out for which CPU of the family, and old Clangs refuse it
    return []


def blas_kernels(flags):
    """Best OpenBLAS 0.3.13 kernel family for a CPU with these instruction sets; None leaves it to OpenBLAS.

    The OpenBLAS inside MXNet's wheel takes CPUs newer than itself for an SSE3 machine.
    """
    if {"avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512cd"} <= flags:
        return "SKYLAKEX"
    if {"avx2", "fma"} <= flags:
        return "HASWELL"
    return None

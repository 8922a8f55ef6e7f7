"""Cores that count, instruction sets, BLAS kernels: on machines that are not this one."""

import functools
import os

from bert_tutorial.machine import cpu

import pytest


@pytest.mark.parametrize(
    ("machine", "text", "flags"),
    [
        ("x86_64", "processor\t: 0\nflags\t\t: fpu avx2\nvmx flags\t: x\nflags : other", {"fpu", "avx2"}),
        ("aarch64", "processor\t: 0\nFeatures\t: fp asimd\nCPU part\t: 0xd0c\n", {"fp", "asimd"}),
        ("aarch64", "processor\t: 0\nflags\t\t: fpu avx512f\n", set()),
    ],
)
def test_cpu_flags(machine, text, flags):
    """Finding 21: ARM calls them Features; an emulator may show the CPU below it."""
    assert cpu._flags_of_cpuinfo(text, machine) == flags


@pytest.mark.parametrize(
    ("flags", "kernels"),
    [
        ("sse3 avx2 fma avx512f avx512dq avx512bw avx512vl avx512cd", "SKYLAKEX"),
        ("sse3 avx2 fma avx512f", "HASWELL"),
        ("sse3 avx2 fma", "HASWELL"),
        ("sse3 avx", None),
        ("", None),
    ],
)
def test_blas_kernels_fit_the_cpu(flags, kernels):
    assert cpu.blas_kernels(set(flags.split())) == kernels


@pytest.mark.parametrize(
    ("machine", "flags", "told"),
    [
        ("x86_64", "avx2 fma", ["-march=native"]),
        ("x86_64", "avx2 fma avx512f", ["-march=native", "-mprefer-vector-width=512"]),
        ("x86_64", "", ["-march=native"]),
        ("aarch64", "fp asimd", ["-mcpu=native"]),
        ("aarch64", "", []),
        ("riscv64", "v", []),
    ],
)
def test_compiler_flags(machine, flags, told):
    assert cpu.compiler_flags(machine, set(flags.split())) == told


@pytest.mark.parametrize(("content", "cpus"), [("150000 100000", 2), ("50000 100000", 1), ("max 100000", None)])
def test_a_containers_quota_counts(tmp_path, content, cpus):
    (tmp_path / "cpu.max").write_text(content)
    assert cpu._cgroup_cpus(tmp_path / "cpu.max") == cpus


def test_no_quota_file():
    assert cpu._cgroup_cpus("/nowhere") is None


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Two sockets of two cores with two hyper-threads each, numbered as Linux does."""

    def usable(cpus, with_sysfs=True, psutil=4, quota=None):
        find = functools.partial(physical_cores, folder=tmp_path if with_sysfs else tmp_path / "nowhere")
        monkeypatch.setattr(cpu, "_physical_cores", find)
        monkeypatch.setattr(cpu.psutil, "cpu_count", lambda logical: psutil)
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: cpus, raising=False)
        monkeypatch.setattr(cpu, "_cgroup_cpus", lambda: quota)
        return cpu.usable_cores()

    physical_cores = cpu._physical_cores
    for i in range(8):
        topology = tmp_path / f"cpu{i}" / "topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(f"{i % 4},{i % 4 + 4}\n")
    return usable


@pytest.mark.parametrize(
    ("cpus", "cores"), [(range(8), 4), ({0, 4}, 1), ({0, 1, 4}, 2), ({1, 2}, 2), ({3, 6, 7}, 2), ({5}, 1)]
)
def test_two_hyper_threads_are_one_core(machine, cpus, cores):
    """Finding 29."""
    assert machine(cpus) == machine(cpus, psutil=None) == cores


@pytest.mark.parametrize(("cpus", "psutil", "cores"), [(range(8), 4, 4), (range(8), None, 8), ({0, 5}, 4, 2)])
def test_cores_where_linux_does_not_tell(machine, cpus, psutil, cores):
    """Finding 29: psutil knows no cores on some ARM and virtual machines."""
    assert machine(cpus, with_sysfs=False, psutil=psutil) == cores


def test_the_quota_limits_the_cores(machine):
    assert machine(range(8), quota=3) == 3
    assert machine({0, 4}, quota=3) == 1


def test_cores_without_affinity_masks(machine, monkeypatch):
    """As on macOS."""
    machine(range(8))
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert cpu.usable_cores() == 4

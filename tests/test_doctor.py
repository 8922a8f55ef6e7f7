"""What `doctor` says of a machine that is not this one."""

import importlib

from bert_tutorial.machine import cuda, devices
from bert_tutorial.machine.chosen import chosen
from bert_tutorial.machine.cuda import GPU

import pytest

doctor = importlib.import_module("bert_tutorial.doctor")  # the package exports the function of this name


T4, ADA, H100 = GPU(0, "T4", (7, 5)), GPU(2, "L4", (8, 9)), GPU(3, "H100", (9, 0))


@pytest.mark.parametrize(
    ("gpu", "has_cuda", "advice"), [(H100, True, "use the CPU"), (T4, False, "make gpu"), (ADA, True, "has kernels")]
)
def test_doctor_has_a_verdict_for_each_gpu(monkeypatch, capsys, gpu, has_cuda, advice):
    for module in (devices, doctor):
        monkeypatch.setattr(module, "list_gpus", lambda: [gpu])
        monkeypatch.setattr(module, "mxnet_has_cuda", lambda: has_cuda)
    monkeypatch.setattr(doctor, "driver_cuda_version", lambda: (10, 1))
    doctor.doctor()
    printed = capsys.readouterr().out
    (line,) = [line for line in printed.splitlines() if line.startswith(f"  GPU {gpu.index}, {gpu.name}")]
    assert advice in line
    (line,) = [line for line in printed.splitlines() if "CUDA 10.1" in line]
    assert cuda.OLDEST_DRIVER in line


def test_doctor_says_what_mxnet_is_lent(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "lent_names", lambda: ["bool", "Inf"])
    doctor.doctor()
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  numpy")]
    assert line.endswith("(to MXNet, with 2 names of older ones)")


@pytest.mark.parametrize(("libraries", "lines"), [("", 0), ("OpenBLAS 0.3.34 DYNAMIC_ARCH", 1)])
def test_doctor_names_what_stands_in_for_arms_libraries(monkeypatch, capsys, libraries, lines):
    monkeypatch.setattr(chosen, "arm_libraries", libraries)
    monkeypatch.setattr(doctor, "cpu_flags", lambda: {"asimd", "sve", "fp"})
    doctor.doctor()
    printed = capsys.readouterr().out
    assert printed.count(f"in place of Arm Performance Libraries: {libraries}") == lines
    assert ": asimd, sve\n" in printed

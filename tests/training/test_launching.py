"""Several processes train one network: they do what one does, and end together, whatever happens."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from types import SimpleNamespace

from bert_tutorial.cli import main
from bert_tutorial.machine.cpu import usable_cores
from bert_tutorial.training import launching
from bert_tutorial.training.checkpoint import load_checkpoint
from bert_tutorial.training.launching import WorkerError, launch
from bert_tutorial.training.workers import Workers

import launched
import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

SCRIPT = Path(launched.__file__)
alone = cache(launched.alone)


@pytest.fixture(autouse=True)
def _nothing_goes_on_running():
    """A run that a test did not end would disturb all tests after it."""
    yield
    for child in psutil.Process().children(recursive=True):
        child.kill()


def run(case, folder, num_workers=2, **options):
    launch([sys.executable, str(SCRIPT), case, str(folder)], num_workers, **options)
    return read(folder, num_workers)


def read(folder, num_workers):
    """Parameters and history of each worker."""
    found = []
    for rank in range(num_workers):
        with np.load(folder / f"{rank}.npz") as file:
            found.append((dict(file), json.loads((folder / f"{rank}.json").read_text())))
    return found


def assert_same_on_all(found):
    for parameters, history in found[1:]:
        assert history == found[0][1]
        for name, array in parameters.items():
            np.testing.assert_array_equal(array, found[0][0][name], err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "num_workers", "num_servers"),
    [
        ("accumulate_on_two_devices", 2, 1),
        ("pretrain", 3, 2),
        ("mlm_only", 2, 1),
        ("unused", 3, 1),
    ],
)
def test_several_workers_end_as_one_with_their_batches_together(case, num_workers, num_servers, tmp_path):
    """Some batches have fewer samples than there are workers."""
    assert_same_as_alone(case, run(case, tmp_path, num_workers, num_servers=num_servers))


def assert_same_as_alone(case, found):
    assert_same_on_all(found)
    parameters, history = found[0]
    expected, expected_history = alone(case)
    for name, array in parameters.items():
        if case not in ("pretrain", "mlm_only") or not name.endswith("W_k.bias"):  # see test_devices.assert_close
            np.testing.assert_allclose(array, expected[name], rtol=0, atol=1e-5, err_msg=name)
    for row, other in zip(history, expected_history, strict=True):
        assert row == pytest.approx(other, abs=1e-5, rel=1e-5, nan_ok=True)


@pytest.mark.slow
def test_each_worker_drops_out_others(tmp_path):
    found = run("dropout", tmp_path)
    assert_same_on_all(found)
    expected, _ = alone("dropout")
    assert any(np.abs(array - expected[name]).max() > 1e-3 for name, array in found[0][0].items())


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """A run of two workers, started as from a shell where nothing is set; why it ended, and what it wrote."""
    folder = tmp_path_factory.mktemp("everything")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("OMP_NUM_THREADS", raising=False)
        with pytest.raises(WorkerError) as error:
            launch([sys.executable, str(SCRIPT), "everything_but_a_seed", str(folder)], 2)
    return str(error.value), folder


@pytest.mark.slow
@pytest.mark.xdist_group("everything")
def test_workers_divide_the_cores(everything):
    """Finding 1: each took all of them."""
    for rank in range(2):
        report = json.loads((everything[1] / f"{rank}.report.json").read_text())
        assert report["threads"] == [max(1, usable_cores() // 2)] * 2
        assert "OMP_NUM_THREADS" not in report["environment"]


@pytest.mark.slow
@pytest.mark.xdist_group("everything")
def test_broadcast(everything):
    first, second = ((everything[1] / f"{rank}.bytes").read_bytes() for rank in range(2))
    assert first == second
    assert len(first) == 0 + 1 + 2 + 1001 + 256_000


@pytest.mark.slow
@pytest.mark.xdist_group("everything")
def test_without_a_seed_all_take_that_of_worker_0(everything):
    assert_same_on_all(read(everything[1], 2))


@pytest.mark.slow
@pytest.mark.xdist_group("everything")
def test_a_server_unpickles_nothing(everything):
    """Finding 8: whoever reached its port could run programs."""
    error, folder = everything
    assert (folder / "works").exists()
    assert not (folder / "planted").exists()
    assert "server 0 ended with exit code 1" in error
    assert "Error: this server was sent a pickle" in error


class FakeStore:
    def __init__(self, num_workers):
        self.num_workers = num_workers


@given(st.integers(0, 50), st.integers(1, 9))
def test_the_shares_of_a_batch(count, size):
    shares = [range(count)[Workers(FakeStore(size), rank).share(count)] for rank in range(size)]
    assert [sample for share in shares for sample in share] == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_workers_train_one_network():
    workers = Workers(FakeStore(2))
    workers.claim()
    with pytest.raises(ValueError, match="start new processes"):
        workers.claim()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("other_settings", "worker 1 has other settings than worker 0 (lr: 0.001 there, 0.002 here)"),
        ("bug", "TypeError"),
        ("server", "server 0 was killed by SIGKILL"),
        ("scheduler", "scheduler was killed by SIGKILL"),
    ],
)
def test_a_process_that_fails_ends_the_run(case, message, tmp_path, capfd):
    with pytest.raises(WorkerError, match=r"ended with exit code 1|was killed") as error:
        launch([sys.executable, str(SCRIPT), case, str(tmp_path)], 2)
    assert message in str(error.value) + capfd.readouterr().err  # worker 0 prints to the terminal
    assert not psutil.Process().children()


def written(path):
    """When a file was last written; None if there is none."""
    return path.stat().st_mtime_ns if path.exists() else None


def finetune(checkpoint, table, output, *more):
    """The arguments of a run of 40 steps, with two workers."""
    options = ["--pretrained", checkpoint, "--data", table, "--output", output, "--epochs", 2, "--batch-size", 4]
    return list(map(str, ["finetune", *options, "--max-length", 32, "--lr", 0.003, *more]))


class Run:
    """`bert-tutorial launch -- finetune ...` in a process of its own."""

    def __init__(self, checkpoint, table, output, *more):
        site = output.parent / "site"
        site.mkdir(exist_ok=True)
        (site / "sitecustomize.py").write_text(
            "import sys\n"
            "class Finder:\n"
            "    def find_spec(self, name, path, target=None):\n"
            "        if name == 'bert_tutorial.finetuning':\n"
            "            from bert_tutorial.training import keeper\n"
            "            keeper.SAVE_INTERVAL, keeper.SAVE_SHARE = 0, float('inf')\n"
            "sys.meta_path.insert(0, Finder())\n"
        )
        command = [sys.executable, "-m", "bert_tutorial", "launch", "--workers", "2", "--"]
        self.process = subprocess.Popen(
            command + finetune(checkpoint, table, output, *more),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(site), *sys.path])},
        )

    def wait_for_change(self, path):
        """Until it has been written, or written again."""
        before = written(path)
        deadline = time.monotonic() + 60
        while written(path) == before:
            assert self.process.poll() is None, self.process.stdout.read()
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def nodes(self):
        """Scheduler, servers and workers by role and rank."""
        found = {}
        for child in psutil.Process(self.process.pid).children():
            environment = child.environ()
            found[f"{environment['DMLC_ROLE']} {environment.get('BERT_TUTORIAL_RANK', '0')}"] = child
        return found

    def end(self):
        """Its exit code and what it printed."""
        printed, _ = self.process.communicate(timeout=90)
        assert "Traceback" not in printed
        return self.process.returncode, printed


def parameters(output):
    return (output / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def whole(tiny_checkpoint, table, tmp_path_factory):
    """A run that was never stopped."""
    output = tmp_path_factory.mktemp("whole") / "run"
    code, printed = Run(tiny_checkpoint, table, output).end()
    assert code == 0, printed
    return output


@pytest.mark.slow
@pytest.mark.xdist_group("whole")
def test_the_command(whole):
    metrics = json.loads((whole / "metrics.json").read_text())
    assert metrics["workers"] == 2
    assert metrics["count"] == 42
    assert metrics["accuracy"] > 0.9
    assert {path.name for path in whole.iterdir()} == {
        "model.safetensors", "config.json", "vocab.txt", "tokenizer_config.json", "metrics.json"
    }  # fmt: skip


def kill(role):
    return lambda run: run.nodes()[role].kill()


# How a run may be stopped, its exit code and what it then prints.
STOPS = [
    (lambda run: run.process.send_signal(signal.SIGINT), 1, "interrupted"),
    (lambda run: run.process.send_signal(signal.SIGTERM), 1, "interrupted"),
    (kill("worker 0"), 1, "worker 0 was killed by SIGKILL"),
    (lambda run: run.process.kill(), -signal.SIGKILL, ""),
]


@pytest.mark.slow
@pytest.mark.xdist_group("whole")
def test_a_stopped_run_leaves_no_process_and_continues(tiny_checkpoint, table, whole, tmp_path, capfd):
    """Stopped in every way, one after the other, it ends with the bits, dropout and all, of a run never stopped."""
    output = tmp_path / "run"
    checkpoint = output / "checkpoint.safetensors"
    for stop, expected_code, message in STOPS:
        run = Run(tiny_checkpoint, table, output, "--resume")
        run.wait_for_change(checkpoint)
        nodes = run.nodes()
        ports = [port for node in nodes.values() for port in node.net_connections() if port.status == "LISTEN"]
        assert [port.laddr.ip for port in ports] == ["127.0.0.1"] * len(nodes) == ["127.0.0.1"] * 4
        stop(run)
        code, printed = run.end()
        assert (code, message in printed) == (expected_code, True), printed
        assert "--resume continues it" in printed or code < 0
        _, alive = psutil.wait_procs(nodes.values(), timeout=10)
        assert not alive
        load_checkpoint(checkpoint)
    with pytest.raises(SystemExit):
        main(finetune(tiny_checkpoint, table, output, "--resume"), "bert-tutorial")
    assert "workers: 2 there, 1 here" in capfd.readouterr().err
    code, printed = Run(tiny_checkpoint, table, output, "--resume").end()
    assert code == 0, printed
    assert parameters(output) == parameters(whole)


@pytest.mark.slow
def test_other_machines_by_ssh(tmp_path, monkeypatch):
    """Finding 16: ssh gets names, the processes addresses; nobody is told 127.0.1.1, and only the user's variables go.

    They are addresses of this machine, and ssh runs the command here, with as little as it passes on.
    """
    ssh = tmp_path / "bin" / "ssh"
    ssh.parent.mkdir()
    ssh.write_text(
        "#!/bin/sh\nwhile [ $# -gt 2 ]; do shift; done\n"
        f'echo "$1" >> {tmp_path}/asked\nexec env -i PATH="$PATH" HOME="$HOME" sh -c "$2"\n'
    )
    ssh.chmod(ssh.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(ssh.parent), prepend=os.pathsep)
    monkeypatch.setattr(launching, "_is_here", lambda address: address != "127.0.0.2")
    addresses = {"this-one": "127.0.1.1", "node5": "127.0.0.2", "127.0.0.3": "127.0.0.3"}
    monkeypatch.setattr(launching.socket, "gethostbyname", addresses.__getitem__)
    monkeypatch.setattr(launching.chosen, "own_variables", ["MXNET_USE_FUSION"])
    monkeypatch.setenv("MXNET_USE_FUSION", "0")
    monkeypatch.setenv("MXNET_CPU_WORKER_NTHREADS", "1")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    found = run("fine_tune", tmp_path, 3, num_servers=2, hosts=["this-one", "node5"], address="127.0.0.3")
    assert_same_as_alone("fine_tune", found)
    assert (tmp_path / "asked").read_text().split() == ["node5"] * 2  # a server and worker 1
    reports = [json.loads((tmp_path / f"{rank}.report.json").read_text()) for rank in range(3)]
    environments = [report["environment"] for report in reports]
    assert [environment["DMLC_NODE_HOST"] for environment in environments] == ["127.0.0.3", "127.0.0.2", "127.0.0.3"]
    assert [environment["BERT_TUTORIAL_LOCAL_RANK"] for environment in environments] == ["0/2", "0/1", "1/2"]
    assert environments[1]["MXNET_CPU_WORKER_NTHREADS"] == "1"
    assert not {"MXNET_USE_FUSION", "OMP_NUM_THREADS"} & set(environments[1])


@pytest.mark.parametrize(
    ("address", "here"), [("127.0.0.1", True), ("127.0.1.1", True), ("10.1.2.3", True), ("192.0.2.7", False)]
)
def test_which_addresses_are_this_machines(address, here, monkeypatch):
    """Finding 16: its own name is at 127.0.1.1 on Debian."""
    card = {"lo": [SimpleNamespace(address="127.0.0.1")], "eth0": [SimpleNamespace(address="10.1.2.3")]}
    monkeypatch.setattr(launching.psutil, "net_if_addrs", lambda: card)
    assert launching._is_here(address) == here


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["predict", "runs/demo"], 2, "finetune or pretrain"),
        (["finetune", "--epochs", "0"], 2, "--epochs"),
        (["--workers", "0", "finetune"], 2, "--workers"),
        ([], 2, "Missing argument"),
        (["--bind", "192.0.2.1", "finetune"], 1, "192.0.2.1 is no address of this machine"),
        (["--hosts", "HOSTS", "finetune"], 1, "give its address in your network with --bind"),
        (["--hosts", "EMPTY", "finetune"], 2, "names no host"),
        (["finetune", "--data", "nowhere"], 1, "no file or folder 'nowhere'"),
    ],
)
def test_mistakes(arguments, code, message, tmp_path, monkeypatch, capfd):
    (tmp_path / "HOSTS").write_text("192.0.2.7\n")
    (tmp_path / "EMPTY").write_text("# nobody\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    with pytest.raises(SystemExit) as end:
        main(["launch", *arguments], "bert-tutorial")
    assert end.value.code == code
    error = capfd.readouterr().err
    assert message in error
    assert "Traceback" not in error

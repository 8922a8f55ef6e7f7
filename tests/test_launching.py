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

from bert_tutorial.checkpoint import load_checkpoint
from bert_tutorial.launching import WorkerError, launch
from bert_tutorial.workers import CHUNK, Workers

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


@pytest.mark.parametrize(
    ("case", "num_workers", "num_servers"),
    [
        ("fine_tune", 2, 1),
        ("fine_tune", 3, 2),
        ("accumulate", 2, 1),
        ("two_devices", 2, 1),
        ("pretrain", 2, 1),
        ("mlm_only", 3, 1),
    ],
)
def test_several_workers_end_as_one_with_their_batches_together(case, num_workers, num_servers, tmp_path):
    """Some batches have fewer samples than there are workers."""
    found = run(case, tmp_path, num_workers, num_servers=num_servers)
    assert_same_on_all(found)
    parameters, history = found[0]
    expected, expected_history = alone(case)
    for name, array in parameters.items():
        if case not in ("pretrain", "mlm_only") or not name.endswith("W_k.bias"):  # see test_devices.assert_close
            np.testing.assert_allclose(array, expected[name], rtol=0, atol=1e-5, err_msg=name)
    for row, other in zip(history, expected_history, strict=True):
        assert row == pytest.approx(other, abs=1e-5, rel=1e-5, nan_ok=True)


def test_each_worker_drops_out_others(tmp_path):
    found = run("dropout", tmp_path)
    assert_same_on_all(found)
    for (parameters, history), (others, other_history) in zip(run("dropout", tmp_path), found, strict=True):
        for name, array in parameters.items():  # the same seed, the same numbers, but for rounding
            np.testing.assert_allclose(array, others[name], rtol=0, atol=1e-6, err_msg=name)
        for row, other in zip(history, other_history, strict=True):
            assert row == pytest.approx(other, rel=1e-6)
    expected, _ = alone("dropout")
    assert any(np.abs(array - expected[name]).max() > 1e-3 for name, array in found[0][0].items())


def test_without_a_seed_all_take_that_of_worker_0(tmp_path):
    assert_same_on_all(run("without_seed", tmp_path))


def test_broadcast(tmp_path):
    launch([sys.executable, str(SCRIPT), "broadcast", str(tmp_path)], 2)
    first, second = ((tmp_path / f"{rank}.bytes").read_bytes() for rank in range(2))
    assert first == second
    assert len(first) == 0 + 1 + 2 + 1001 + 3 * CHUNK


class FakeStore:
    def __init__(self, num_workers):
        self.num_workers = num_workers


@given(st.integers(0, 50), st.integers(1, 9))
def test_the_shares_of_a_batch(count, size):
    shares = [range(count)[Workers(FakeStore(size), rank).share(count)] for rank in range(size)]
    assert [sample for share in shares for sample in share] == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("other_settings", "worker 1 has other settings than worker 0 (lr: 0.001 there, 0.002 here)"),
        ("twice", "start new processes"),
        ("bug", "TypeError"),
    ],
)
def test_a_worker_that_fails_ends_the_run(case, message, tmp_path, capfd):
    before = time.monotonic()
    with pytest.raises(WorkerError, match="ended with exit code 1") as error:
        launch([sys.executable, str(SCRIPT), case, str(tmp_path)], 2)
    assert message in str(error.value) + capfd.readouterr().err  # worker 0 prints to the terminal
    assert time.monotonic() - before < 60
    assert not psutil.Process().children()


class Run:
    """`bert-tutorial launch -- finetune ...` in a process of its own."""

    def __init__(self, checkpoint, table, output, *more, epochs=2, launching=("--workers", 2), path=()):
        site = output.parent / "site"
        site.mkdir(exist_ok=True)
        (site / "sitecustomize.py").write_text(
            "import sys\n"
            "class Finder:\n"
            "    def find_spec(self, name, path, target=None):\n"
            "        if name == 'bert_tutorial.finetuning':\n"
            "            import bert_tutorial.training as training\n"
            "            training.SAVE_INTERVAL, training.SAVE_SHARE = 0, float('inf')\n"
            "sys.meta_path.insert(0, Finder())\n"
        )
        command = [sys.executable, "-m", "bert_tutorial", "launch", *launching, "--", "finetune", "--data", table]
        command += ["--pretrained", checkpoint, "--epochs", epochs, "--batch-size", 4, "--max-length", 32]
        command += ["--lr", 0.003, "--output", output, *more]
        self.output = output
        self.process = subprocess.Popen(
            list(map(str, command)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(site), *sys.path]),
                "PATH": os.pathsep.join([*map(str, path), os.environ["PATH"]]),
            },
        )

    def wait_for(self, path):
        deadline = time.monotonic() + 60
        while not path.exists():
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
    return (output / "model.params").read_bytes()


@pytest.fixture(scope="module")
def whole(tiny_checkpoint, table, tmp_path_factory):
    """A run that was never stopped."""
    output = tmp_path_factory.mktemp("whole") / "run"
    code, printed = Run(tiny_checkpoint, table, output).end()
    assert code == 0, printed
    return output


def test_the_command(whole):
    metrics = json.loads((whole / "metrics.json").read_text())
    assert metrics["workers"] == 2
    assert metrics["count"] == 42
    assert metrics["accuracy"] > 0.9
    assert {path.name for path in whole.iterdir()} == {"model.params", "config.json", "vocab.txt", "metrics.json"}


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["worker 0", "worker 1", "server 0", "scheduler 0"])
def test_a_killed_process_ends_the_run_which_then_continues(victim, tiny_checkpoint, table, whole, tmp_path):
    output = tmp_path / "run"
    killed = Run(tiny_checkpoint, table, output)
    killed.wait_for(output / "checkpoint.params")
    nodes = killed.nodes()
    assert len(nodes) == 4
    nodes[victim].kill()
    code, printed = killed.end()
    assert code == 1
    assert f"{victim.removesuffix(' 0') if 'scheduler' in victim else victim} was killed by SIGKILL" in printed
    assert "--resume continues it" in printed
    psutil.wait_procs(nodes.values(), timeout=5)
    assert not any(node.is_running() for node in nodes.values())
    load_checkpoint(output / "checkpoint.params")
    code, printed = Run(tiny_checkpoint, table, output, "--resume").end()
    assert code == 0, printed
    assert parameters(output) == parameters(whole)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_an_interrupted_run_continues(number, tiny_checkpoint, table, whole, tmp_path):
    output = tmp_path / "run"
    stopped = Run(tiny_checkpoint, table, output)
    stopped.wait_for(output / "checkpoint.params")
    nodes = stopped.nodes()
    stopped.process.send_signal(number)
    code, printed = stopped.end()
    assert code == 1
    assert "interrupted" in printed
    psutil.wait_procs(nodes.values(), timeout=5)
    assert not any(node.is_running() for node in nodes.values())
    code, printed = Run(tiny_checkpoint, table, output, "--resume").end()
    assert code == 0, printed
    assert parameters(output) == parameters(whole)


@pytest.mark.slow
def test_a_killed_launcher_leaves_no_process(tiny_checkpoint, table, tmp_path):
    output = tmp_path / "run"
    killed = Run(tiny_checkpoint, table, output, epochs=100)
    killed.wait_for(output / "checkpoint.params")
    nodes = killed.nodes()
    killed.process.kill()
    psutil.wait_procs(nodes.values(), timeout=10)
    assert not any(node.is_running() for node in nodes.values())


@pytest.mark.slow
def test_other_numbers_of_workers_do_not_continue_a_run(tiny_checkpoint, table, tmp_path):
    output = tmp_path / "run"
    stopped = Run(tiny_checkpoint, table, output)
    stopped.wait_for(output / "checkpoint.params")
    stopped.process.send_signal(signal.SIGINT)
    stopped.end()
    code, printed = Run(tiny_checkpoint, table, output, "--resume", launching=("--workers", 1)).end()
    assert code == 1
    assert "workers: 2 there, 1 here" in printed


@pytest.mark.slow
def test_all_listen_at_loopback_only(tiny_checkpoint, table, tmp_path):
    output = tmp_path / "run"
    running = Run(tiny_checkpoint, table, output, epochs=100)
    running.wait_for(output / "checkpoint.params")
    ports = [port for node in running.nodes().values() for port in node.net_connections() if port.status == "LISTEN"]
    running.process.send_signal(signal.SIGINT)
    running.end()
    assert len(ports) == 4
    assert {port.laddr.ip for port in ports} == {"127.0.0.1"}


@pytest.mark.slow
def test_other_machines_by_ssh(tiny_checkpoint, table, whole, tmp_path):
    """Two more addresses of this machine, and an ssh that runs the command here, with as little as ssh passes on."""
    ssh = tmp_path / "bin" / "ssh"
    ssh.parent.mkdir()
    ssh.write_text(
        "#!/bin/sh\nwhile [ $# -gt 2 ]; do shift; done\n"
        f'echo "$1" >> {tmp_path}/asked\nexec env -i PATH="$PATH" HOME="$HOME" sh -c "$2"\n'
    )
    ssh.chmod(ssh.stat().st_mode | stat.S_IXUSR)
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.3  # this machine\n\n127.0.0.2\n")
    output = tmp_path / "run"
    launching = ("--workers", 2, "--servers", 2, "--hosts", hosts, "--bind", "127.0.0.3")
    code, printed = Run(tiny_checkpoint, table, output, launching=launching, path=[ssh.parent]).end()
    assert code == 0, printed
    assert (tmp_path / "asked").read_text().split() == ["127.0.0.2"] * 2  # a server and worker 1
    assert parameters(output) == parameters(whole)


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
def test_mistakes(arguments, code, message, tmp_path):
    (tmp_path / "HOSTS").write_text("192.0.2.7\n")
    (tmp_path / "EMPTY").write_text("# nobody\n")
    command = [sys.executable, "-m", "bert_tutorial", "launch", *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    found = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=90)
    assert found.returncode == code
    assert message in found.stderr
    assert "Traceback" not in found.stderr

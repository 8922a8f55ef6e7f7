"""Start a training in several processes, on this machine or on others by ssh, and end them together.

The processes are those of MXNet's parameter server: a scheduler, through which all find each other, servers, which
add up gradients, and workers, which train. Each has a pipe from this process: when it closes, whatever the reason,
they end.
"""

import ipaddress
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import IO

import psutil

from ..machine.chosen import chosen

LOOPBACK = "127.0.0.1"
PASSED_ON = ("BERT_TUTORIAL_", "DMLC_", "MXNET_", "OMP_", "PS_")  # beginnings of the user's variables that others get
INTERVAL = 0.1  # seconds between two looks at the processes
PATIENCE = 60  # seconds for worker 0 to write its checkpoint when the run is stopped
FAREWELL = 10  # seconds for servers and scheduler to end when the workers have
SHOWN_LINES = 15  # of what a failed process has printed


class WorkerError(RuntimeError):
    """A process of the run has failed."""


@dataclass(frozen=True)
class Machine:
    """Where processes run."""

    name: str  # as the user wrote it: ssh may know more of it than its address
    address: str  # at which the other processes find those of this machine
    here: bool


@dataclass
class Node:
    """One process of a run."""

    name: str
    process: subprocess.Popen
    log: IO | None  # None: it prints to the terminal

    @property
    def is_worker(self):
        """Whether it trains."""
        return self.name.startswith("worker")

    def describe_end(self):
        """How it ended, and the last it said."""
        code = self.process.returncode
        text = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        if self.log is None:
            return f"{self.name} {text}"
        self.log.seek(0)
        lines = self.log.read().decode(errors="replace").splitlines()[-SHOWN_LINES:]
        return "\n".join([f"{self.name} {text}", *(f"  {self.name}: {line}" for line in lines)])


def launch(command, num_workers, num_servers=1, hosts=(LOOPBACK,), address=LOOPBACK):
    """Run a command in several processes, until all have ended.

    Parameters
    ----------
    command : sequence of str
        What a worker runs: a Python program that calls `join_workers`, trains, and calls `Workers.leave`.
    num_workers, num_servers : int
        Dealt out to the hosts in turn.
    hosts : sequence of str, default this machine
        Names or IP addresses; the other machines must have this project in the same folder, and let us in by ssh
        without a password. A name or loopback address of this machine needs no ssh.
    address : str, default 127.0.0.1
        IP address of this machine, at which the scheduler listens and by which the others find it.

    Raises
    ------
    WorkerError
        A process ended before its time. All others were ended.
    KeyboardInterrupt
        Ctrl-C or SIGTERM came. Worker 0 had the time to write its checkpoint.
    ValueError
        A host has no address, or another machine would have to find this one at a loopback address.
    """
    machines = [_find(host, address) for host in hosts]
    if address == LOOPBACK and not all(machine.here for machine in machines):
        raise ValueError("workers on other machines must reach this one: give its address in your network with --bind")
    shared = {
        "BERT_TUTORIAL_LAUNCHED": "1",
        "DMLC_PS_ROOT_URI": address,
        "DMLC_PS_ROOT_PORT": str(_free_port(address)),
        "DMLC_NUM_WORKER": str(num_workers),
        "DMLC_NUM_SERVER": str(num_servers),
    }
    serve = [sys.executable, "-c", "import bert_tutorial"]  # MXNet serves as it is imported
    previous = signal.signal(signal.SIGTERM, _interrupt)
    nodes = []
    try:
        with ExitStack() as stack:
            stack.callback(_end, nodes)

            def start(name, machine, command, environment):
                log = None if name == "worker 0" else stack.enter_context(tempfile.TemporaryFile())
                environment = {**shared, **environment, "DMLC_NODE_HOST": machine.address}
                nodes.append(Node(name, _start(command, environment, machine, log), log))

            start("scheduler", Machine("", address, here=True), serve, {"DMLC_ROLE": "scheduler"})
            for name, machine, environment in _deal_out(machines, num_workers, num_servers):
                start(name, machine, command if environment["DMLC_ROLE"] == "worker" else serve, environment)
            try:
                _watch(nodes)
            except KeyboardInterrupt:
                _stop(next(node for node in nodes if node.name == "worker 0"))
                raise
    finally:
        signal.signal(signal.SIGTERM, previous)


def _deal_out(machines, num_workers, num_servers):
    """Name, machine and environment of each server and worker; those on one machine divide its cores."""
    servers = [machines[i % len(machines)] for i in range(num_servers)]
    workers = [machines[rank % len(machines)] for rank in range(num_workers)]
    addresses = [machine.address for machine in workers]
    for i, machine in enumerate(servers):
        local_rank = f"0/{addresses.count(machine.address) or 1}"  # no more cores than a worker
        yield f"server {i}", machine, {"DMLC_ROLE": "server", "BERT_TUTORIAL_LOCAL_RANK": local_rank}
    for rank, machine in enumerate(workers):
        local_rank = f"{addresses[:rank].count(machine.address)}/{addresses.count(machine.address)}"
        environment = {
            "DMLC_ROLE": "worker",
            "BERT_TUTORIAL_RANK": str(rank),
            "BERT_TUTORIAL_LOCAL_RANK": local_rank,
        }
        yield f"worker {rank}", machine, environment | ({"TQDM_DISABLE": "1"} if rank else {})


def _find(host, address):
    """The machine of this name; `address` is that of this one."""
    try:
        found = socket.gethostbyname(host)  # the parameter server listens at no name
    except OSError as error:
        raise ValueError(f"the host {host!r} has no address: {error}") from None
    here = _is_here(found)
    return Machine(host, address if here else found, here)


def _is_here(address):
    """Whether an IP address is one of this machine's; its own name often stands for 127.0.1.1."""
    own = {each.address for addresses in psutil.net_if_addrs().values() for each in addresses}
    return address in own or ipaddress.ip_address(address).is_loopback


def _free_port(address):
    try:
        with socket.create_server((address, 0)) as listener:
            return listener.getsockname()[1]
    except OSError as error:
        raise ValueError(f"{address} is no address of this machine: {error}") from None


def _interrupt(signum, frame):
    raise KeyboardInterrupt


def _start(command, environment, machine, log):
    if machine.here:
        environment = {**os.environ, **environment}
    else:
        passed_on = {
            name: value
            for name, value in os.environ.items()
            if name.startswith(PASSED_ON) and name not in chosen.own_variables
        }
        pairs = [f"{name}={value}" for name, value in {**passed_on, **environment}.items()]
        remote = f"cd {shlex.quote(os.getcwd())} && exec {shlex.join(['env', *pairs, *command])}"
        command = ["ssh", "-o", "BatchMode=yes", "-o", "ServerAliveInterval=15", machine.name, remote]
        environment = None
    return subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=log,
        start_new_session=True,  # Ctrl-C comes to us alone; we tell worker 0
    )


def _watch(nodes):
    """Wait until all workers have ended well."""
    workers = [node for node in nodes if node.is_worker]
    while True:
        ended = [node for node in nodes if node.process.poll() is not None]
        failed = [node for node in ended if node.process.returncode != 0]
        if failed:
            raise WorkerError(failed[-1].describe_end())  # a worker, if one is among them
        if all(node in ended for node in workers):
            return
        time.sleep(INTERVAL)


def _stop(worker):
    """Let a worker finish its step and write its checkpoint."""
    try:
        worker.process.stdin.write(b"stop\n")
        worker.process.stdin.flush()
        worker.process.wait(PATIENCE)
    except (OSError, subprocess.TimeoutExpired):  # it has ended already, or hangs
        pass


def _end(nodes):
    """Leave no process behind: those that do not end by themselves are killed. Checkpoints survive that."""
    if all(node.process.poll() == 0 for node in nodes if node.is_worker):
        deadline = time.monotonic() + FAREWELL
        while time.monotonic() < deadline and any(node.process.poll() is None for node in nodes):
            time.sleep(INTERVAL)
    for node in nodes:
        node.process.stdin.close()
        node.process.kill()
        node.process.wait()

"""Commands in processes of their own that need not import torch first.

`concord train` in a new interpreter takes about three seconds until it begins, and most of them are imports.
Here one process imports what is heavy, once, and forks for each command: the command still has its own
process, signals, folder, standard streams and exit status, and may be killed. What is about the interpreter
itself (how it starts, closed streams, processes that it spawns) is tested in a new one.

polars is imported, and not used before a fork: it starts its threads, which a fork would not have, when it is
first used (1.30, the lowest version that is allowed, as well as 2.1).
"""

from __future__ import annotations

import atexit
import gc
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

HEAVY = (
    "torch scipy.stats sklearn.linear_model lightning_fabric matplotlib.pyplot PIL.Image pydantic jinja2 "
    "polars safetensors.torch concord.cli.train concord.cli.study concord.cli.data concord.config "
    "concord.networks concord.runs concord.auto concord.study.running.running "
    "concord.study.judging.comparison concord.study.pages.report concord.study.problems.own_data"
)
TRAINING = ["training_problem", "lightning_fabric", "sklearn.metrics"]
"""What trainings of tests need, in processes that run a function and are killed by whoever began them."""
CALLS = """
import importlib, json, os, signal, sys
module, name, calls, seconds = json.loads(sys.argv[1])
function, children = getattr(importlib.import_module(module), name), []
for arguments in calls:
    children.append(os.fork())
    if not children[-1]:
        signal.alarm(seconds)
        function(*arguments)
        sys.exit()
print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]))
"""
"""Calls a function in a process for each list of arguments, all at once, and prints how they ended."""
SECONDS = 120
"""After which a command is ended."""


@cache
def _server() -> socket.socket:
    """The process that forks, started with the first command; it ends when its socket closes."""
    here, there = socket.socketpair()
    paths = os.pathsep.join(filter(None, sys.path))
    # A setting of whoever runs the tests, CONCORD_DATA for one, would override the configs of commands.
    mine = {name: value for name, value in os.environ.items() if not name.startswith("CONCORD_")}
    environment = {**mine, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    number = there.fileno()
    process = subprocess.Popen([sys.executable, __file__, str(number)], pass_fds=[number], env=environment)
    there.close()
    atexit.register(lambda: (here.close(), process.wait()))
    return here


@contextmanager
def forked() -> Iterator[Any]:
    """A context of multiprocessing whose processes begin with torch loaded, so that many take little time."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parent), before]))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(TRAINING)
    try:
        yield context
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def run_warm(
    code: str, arguments: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[bytes]:
    """Run code as `python -c code arguments` does, in a folder.

    `PYTHONIOENCODING` of the environment is heeded; what else the interpreter reads when it starts is not.
    """
    server = _server()
    request = json.dumps([code, list(map(str, arguments)), str(folder), dict(environment)]).encode()
    ends = [os.pipe(), os.pipe()]
    socket.send_fds(server, [len(request).to_bytes(4, "big")], [write for _, write in ends])
    server.sendall(request)
    for _, write in ends:
        os.close(write)
    with ThreadPoolExecutor(2) as readers:  # both at once: a full pipe would stop the command
        out, err = readers.map(_drained, [read for read, _ in ends])
    ended = server.recv(4, socket.MSG_WAITALL)
    assert len(ended) == 4, "the process that forks commands is gone"
    status = int.from_bytes(ended, "big", signed=True)
    return subprocess.CompletedProcess(arguments, status, out, err)


def call_warm(function: Callable[..., object], *calls: Sequence[Any]) -> list[int]:
    """Call a function of a module in a process for each list of arguments, all at once.

    Returns:
        Exit status of each, minus the signal where it was killed.
    """
    given = json.dumps([function.__module__, function.__name__, calls, SECONDS])
    done = run_warm(CALLS, [given], Path.cwd(), {})
    assert done.returncode == 0, done.stderr.decode()
    found: list[int] = json.loads(done.stdout.splitlines()[-1])
    return found


def _drained(descriptor: int) -> bytes:
    with open(descriptor, "rb") as pipe:
        return pipe.read()


def _serve(client: socket.socket) -> tuple[list[Any], list[int]]:
    """Fork for each request, and say how it ended; in the fork, the request and its streams are returned."""
    while True:
        head, streams, *_ = socket.recv_fds(client, 4, 2)
        if not head:
            os._exit(0)
        request = client.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL)
        child = os.fork()
        if not child:
            client.close()
            return json.loads(request), streams
        for stream in streams:
            os.close(stream)
        _, status = os.waitpid(child, 0)
        client.sendall(os.waitstatus_to_exitcode(status).to_bytes(4, "big", signed=True))


def _become(arguments: list[str], folder: str, environment: dict[str, str], streams: list[int]) -> None:
    """Take on the streams, arguments, folder and environment of a command."""
    signal.alarm(SECONDS)
    os.chdir(folder)
    os.environ.update(environment)
    for number, stream in enumerate((os.open(os.devnull, os.O_RDONLY), *streams)):
        os.dup2(stream, number)
        os.close(stream)
    encoding = environment.get("PYTHONIOENCODING", "utf-8")
    streams_of = {
        "stdin": os.fdopen(0, encoding=encoding, closefd=False),
        "stdout": os.fdopen(1, "w", encoding=encoding, closefd=False),
        "stderr": os.fdopen(2, "w", 1, encoding, "backslashreplace", closefd=False),
    }
    for name, stream in streams_of.items():
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    sys.argv = ["-c", *arguments]
    sys.path[0] = ""  # as with -c: the folder of the command


def _run(code: str) -> int:
    """Run the code of a command as the interpreter does; its exit status."""
    try:
        exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    for name in HEAVY.split():
        __import__(name)
    gc.freeze()  # or the first collection in each fork copies every page
    (code, *rest), streams = _serve(socket.socket(fileno=int(sys.argv[1])))
    _become(*rest, streams)
    status = _run(code)
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # to take torch apart object by object would take longer than most commands

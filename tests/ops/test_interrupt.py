"""Ctrl-C stops a long operation and leaves a process that works; on another thread it disturbs none."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest

# Each takes half a minute or more if nothing stops it. Rows that repeat in memory (stride 0) make an array as large as
# one likes.
LONG = {
    "mean_direction": "lasting(30, ops.mean_direction)",
    "cosine_to": "lasting(30, lambda rows: ops.cosine_to(rows, x[:1]))",
    "nearest": "ops.nearest(many, many)",
    "silhouette_samples": "ops.silhouette_samples(many, np.arange(len(many)) % 10)",
    "token_logprobs": "ops.token_logprobs(np.broadcast_to(many.ravel(), (20_000, many.size)), np.zeros(20_000, int))",
    "linear_logprobs": "ops.linear_logprobs(many, many, np.zeros(len(many), int))",
    "kmeans": "ops.kmeans(many, 200, max_iter=1 << 30, tol=0)",
}

START = """
import signal, sys, threading, time, traceback
import numpy as np
from dataprophet import ops
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests were started in the background
x = np.random.default_rng(0).standard_normal((4000, 32)).astype(np.float32)
many = np.random.default_rng(1).random((400_000, 64), np.float32)
before = ops.mean_direction(x).tobytes()

def lasting(seconds, operation):
    def repeated(count):
        return np.broadcast_to(x[0], (count, 32))
    operation(repeated(1 << 16))
    start = time.perf_counter()
    operation(repeated(1 << 22))
    rows = repeated(int(seconds / (time.perf_counter() - start) * (1 << 22)))
    print("ready", flush=True)
    return operation(rows)
"""

STOPPED = """
if not {operation!r}.startswith("lasting"):
    print("ready", flush=True)
try:
    {operation}
except KeyboardInterrupt as error:
    print(traceback.extract_tb(error.__traceback__)[-1].line, flush=True)
assert ops.mean_direction(x).tobytes() == before
print("goes on", flush=True)
"""

OTHER_THREAD = """
found = []
thread = threading.Thread(target=lambda: found.append(lasting(5, ops.mean_direction)))
thread.start()
try:
    time.sleep(60)
except KeyboardInterrupt:
    print("interrupted", flush=True)
thread.join()
np.testing.assert_allclose(found[0], ops.mean_direction(x[:1]), atol=1e-6)
print("goes on", flush=True)
"""


@contextlib.contextmanager
def interrupted(code):
    """A program that runs the code, once it has been interrupted."""
    environment = {**os.environ, "DATAPROPHET_THREADS": "2"}
    command = [sys.executable, "-c", START + code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as child:
        try:
            assert child.stdout.readline() == "ready\n", child.stderr.read()
            time.sleep(1)  # by now it is inside the operation
            child.send_signal(signal.SIGINT)
            yield child
        finally:
            child.kill()


@pytest.mark.parametrize("operation", LONG)
def test_interrupt_stops(operation):
    with interrupted(STOPPED.format(operation=LONG[operation])) as child:
        sent = time.monotonic()
        line = child.stdout.readline()
        # A fraction of a second; a busy machine may take a few. To run to the end would take far longer.
        assert time.monotonic() - sent < 10
        assert "core" in line, "it was not in the compiled core that it stopped"
        assert child.stdout.readline() == "goes on\n", child.stderr.read()


def test_interrupt_leaves_other_threads_alone():
    with interrupted(OTHER_THREAD) as child:
        assert child.stdout.readline() == "interrupted\n"
        assert child.stdout.readline() == "goes on\n", child.stderr.read()

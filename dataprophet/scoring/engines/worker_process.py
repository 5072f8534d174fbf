"""A worker process of the local engine: shards come in as lines of JSON, results go out as such."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from dataclasses import asdict
from typing import Any

from dataprophet.errors import DataProphetError
from dataprophet.scoring.engines.threads import AT_A_TIME, Threads, score_or_die
from dataprophet.scoring.folder.config import RunConfig
from dataprophet.scoring.folder.shards import Shard
from dataprophet.scoring.worker import Worker
from dataprophet.store import open_store

PULSE_S = 2.0

ORPHANED = 3
"""Exit status of a worker whose driver is gone."""


class _Process:
    """The worker's side of the talk with its driver. Anything else that prints does so to standard error."""

    def __init__(self) -> None:
        self._driver = os.getppid()
        self._answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self._lock = threading.Lock()
        head = json.loads(sys.stdin.readline())
        self.store = open_store(head["root"])
        self.config = RunConfig.from_json(head["config"], self.store.root)
        self._threads = Threads(AT_A_TIME[self.config.kind], self._answer)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the driver too, which says what to do
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores SIGHUP
                signal.signal(number, lambda *_: self.stop())
        self._worker: Worker | None = None
        self._stall = float(head["stall"])
        for each in (self._listen, self._pulse):
            threading.Thread(target=each, name="dataprophet-driver", daemon=True).start()

    def stop(self) -> None:
        self.store.stop()
        self._threads.stop()

    def run(self) -> int:
        try:
            worker = self._worker = Worker(self.config, self.store)
            worker.stall = self._stall
        except DataProphetError as error:
            self._tell(error=error.to_dict())
            return 1
        worker.tell = lambda cell: self._tell(cell=asdict(cell))
        self._tell(ready=os.getpid())
        self._threads.start(lambda shard: score_or_die(worker, shard))
        while not self._threads.join(0.2):  # in short waits: a signal is handled between them
            if os.getppid() != self._driver:
                self._leave()  # the other end of standard input may live on in another child of the driver
        self.store.close()
        return 0

    def _answer(self, said: Any) -> None:
        self._tell(**said)
        if "error" in said:
            self.stop()

    def _listen(self) -> None:
        for line in sys.stdin:
            message = json.loads(line)
            if "shard" in message:
                self._threads.give(Shard(**message["shard"]))
            else:
                self.stop()
        self._leave()  # the driver closes its end when it gives up waiting, and the system does when it dies

    def _pulse(self) -> None:
        """Say again and again that the process is there, and how far it is."""
        while True:
            self._tell(pulse=0 if self._worker is None else self._worker.progress)
            time.sleep(PULSE_S)

    def _leave(self) -> None:
        self.store.abandon()
        self.store.close()
        os._exit(ORPHANED)

    def _tell(self, **message: Any) -> None:
        with self._lock:
            print(json.dumps(message), file=self._answers, flush=True)


def main() -> None:
    """Work for the driver at the other end of standard input and output."""
    status = _Process().run()
    sys.stderr.flush()
    os._exit(status)  # at once: nothing is left to write, and a device library may take its time


if __name__ == "__main__":
    main()

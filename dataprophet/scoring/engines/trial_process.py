"""A process in which samples of a cell are tried, one by one; ``scoring/trial.py`` starts it and sees how it ends."""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback

from dataprophet.errors import DataProphetError
from dataprophet.scoring.engines.threads import BROKEN
from dataprophet.scoring.folder.config import RunConfig
from dataprophet.scoring.folder.shards import Shard
from dataprophet.scoring.worker import Worker
from dataprophet.store import open_store


def main() -> None:
    """Try the samples that standard input names; tell of each, as it begins, on standard output."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    asked = json.loads(sys.stdin.readline())
    threading.Thread(target=_leave_with_the_other, daemon=True).start()
    store = open_store(asked["root"])
    status = 0
    try:
        worker = Worker(RunConfig.from_json(asked["config"], store.root), store)
        cell = asked["cell"]
        ((_, lines),) = worker.lines(Shard(**asked["shard"]), cell, cell + 1)
        for place in asked["places"]:
            print(json.dumps({"begun": place}), file=answers, flush=True)
            list(worker.model.cells([[lines.samples[place]]], details=worker.config.details))
    except DataProphetError as error:
        print(json.dumps({"error": error.to_dict()}), file=answers, flush=True)
    except BaseException:
        traceback.print_exc()
        status = BROKEN
    sys.stderr.flush()
    store.close()
    os._exit(status)


def _leave_with_the_other() -> None:
    """End when the other end of standard input is closed, by a process that gave up or died."""
    sys.stdin.read()
    os._exit(BROKEN)


if __name__ == "__main__":
    main()

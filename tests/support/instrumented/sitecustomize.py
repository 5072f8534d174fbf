"""Python runs this at its start where this folder is on PYTHONPATH: the tests' own additions to the model pass.

FORWARD_LOG names a file that gets a line for each batch once it is computed: the process and the samples scored.
ENDS_AT_START, where set, ends worker processes before they are ready.
FILE_LIMIT bounds the bytes of a file that a worker process writes, as a full disk does.
POISON holds token ids: a batch that holds them in a row ends the process, as a fault in a driver would. With HANGS the
process waits for ever instead.
"""

import importlib.abc
import importlib.util
import os
import resource
import sys
import time

_MODULE = "dataprophet.model.model"


def _add_to(module):
    plain = module.Model._failure
    log, poison = os.environ.get("FORWARD_LOG"), os.environ.get("POISON")

    def failure(self, part, results):
        ids = " ".join(str(number) for number in part.ids.flatten().tolist())
        if poison and f" {poison} " in f" {ids} ":
            os._exit(11) if "HANGS" not in os.environ else time.sleep(3600)
        found = plain(self, part, results)
        if log and found is None and not part.texts:
            with open(log, "a") as stream:
                stream.write(f"{os.getpid()} {len(part.members)}\n")
        return found

    module.Model._failure = failure


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != _MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        plain = spec.loader.exec_module

        def execute(module):
            plain(module)
            _add_to(module)

        spec.loader.exec_module = execute
        return spec


sys.meta_path.insert(0, _Finder())
if "dataprophet.scoring.engines.worker_process" in sys.orig_argv:
    if os.environ.get("ENDS_AT_START"):
        sys.stderr.write("no memory\n")
        sys.stderr.flush()
        os._exit(5)
    if limit := int(os.environ.get("FILE_LIMIT", "0")):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

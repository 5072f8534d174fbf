"""Fixtures that several test files share."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# The repository root off sys.path: there ./dataprophet has no compiled core, and ./kernels would be taken for Hugging
# Face's package of that name, which transformers looks for.
_ROOT = Path(__file__).resolve().parents[1]
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != _ROOT]

os.environ["PYTHONSAFEPATH"] = "1"  # for the programs that tests start, which would else find ./dataprophet first

# Read when torch and transformers are imported. One thread: the models are tiny, and threads would only wait.
for _name, _value in {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "OMP_NUM_THREADS": "1"}.items():
    os.environ.setdefault(_name, _value)

# the same examples on every run; no limit of time for one, which a busy machine would break
settings.register_profile("dataprophet", deadline=None, derandomize=True)
settings.load_profile("dataprophet")

# Begun first, so that one process does not end with them while the others have nothing left: files go whole to one.
_LONGEST = ("test_documents", "test_faults", "test_ray", "test_kernels", "test_cuda_emulator", "test_profile_engine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of a tiny random model of a family, built once."""
    pytest.importorskip("transformers")
    from dataprophet.errors import MissingDependencyError
    from dataprophet.model.load import _require

    try:
        _require()
    except MissingDependencyError as error:  # such as a transformers that is too old
        pytest.skip(str(error))
    import tiny_models

    root, made = tmp_path_factory.mktemp("tiny"), {}

    def folder(family: str) -> Path:
        if family not in made:
            made[family] = tiny_models.write(family, root / family)
        return made[family]

    return folder


@pytest.fixture(scope="session")
def tiny_model(tiny_folder: Callable[[str], Path]) -> Callable[[str], Any]:
    """A tiny model of a family, loaded through `load_model` in float32 on the CPU, once for each set of options."""
    from dataprophet import load_model

    loaded: dict[Any, Any] = {}

    def model(family: str, **options: Any) -> Any:
        key = (family, *sorted(options.items()))
        if key not in loaded:
            loaded[key] = load_model(str(tiny_folder(family)), device="cpu", batch_tokens=1024, **options)
        return loaded[key]

    return model


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A temporary folder of this run; the processes of pytest-xdist share it."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def emulated(shared_folder: Path) -> Any:
    """The CUDA operations on the CPU, compiled once."""
    import cuda_emulated

    return cuda_emulated.Emulated(cuda_emulated.build(shared_folder / "cuda_emulated"))


@pytest.fixture(scope="session")
def bucket() -> Iterator[str]:
    """A bucket of a server that honours conditional writes; processes that tests start find it too."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        pytest.importorskip("s3fs").S3FileSystem(skip_instance_cache=True).mkdir("bucket")
        yield "s3://bucket"
    server.stop()


@pytest.fixture(params=["folder", "memory", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path / "out")
    pytest.importorskip("fsspec")
    start = "memory:/" if request.param == "memory" else request.getfixturevalue("bucket")
    return f"{start}/{uuid.uuid4().hex}/out"

"""A CUDA module that was built for other GPUs is refused, in one line, before a kernel is asked for."""

import pytest

from dataprophet.errors import MissingDependencyError
from dataprophet.ops import backend


@pytest.mark.parametrize(
    ("architectures", "capability", "runs"),
    [
        ("80-real 90-real", (9, 0), True),
        ("80-real", (8, 9), True),
        ("86-real", (8, 0), False),
        ("80-real", (9, 0), False),
        ("80-virtual", (12, 0), True),
        ("90", (10, 0), True),
        ("90a", (9, 0), True),
        ("90a-real", (10, 0), False),
        ("100-real 100-virtual", (9, 0), False),
        ("native", (9, 0), True),
    ],
)
def test_what_an_architecture_runs_on(architectures, capability, runs):
    assert backend.built_for(architectures.split(), *capability) == runs


def test_a_module_for_other_gpus_is_refused(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(backend, "cuda_devices", lambda: 1)
    monkeypatch.setattr(backend, "architectures", lambda: ("80-real", "100-virtual"))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    with pytest.raises(MissingDependencyError) as caught:
        backend.runs_on("cuda:1")
    assert str(caught.value) == (
        "dataprophet._cuda: the CUDA module is built for 80-real, 100-virtual; cuda:1 is of compute capability 9.0; "
        "build it with CMAKE_CUDA_ARCHITECTURES=90, or with DATAPROPHET_CUDA=OFF"
    )
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 6))
    assert backend.runs_on("cuda:0")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert not backend.runs_on("cuda:0")

"""The names of ``dataprophet``: each loads, from the home that its stub names, and none before it is used."""

import subprocess
import sys

LOOK = """
import sys
import dataprophet as dp
assert not {"numpy", "torch", "pyarrow"} & {*sys.modules}
assert [*dir(dp)] == sorted([*dp.__all__, "published", "__version__"]) and len(dp.__all__) == len({*dp.__all__}) == 21
for name in dp.__all__:
    assert getattr(dp, name).__name__ in (name, f"dataprophet.{name}"), name
assert "torch" not in sys.modules
assert dp.published.__name__ == "dataprophet.metric.published"
try:
    dp.Profil
except AttributeError as error:
    print(error)
"""


def test_names_load_on_first_use_and_without_torch():
    done = subprocess.run([sys.executable, "-P", "-c", LOOK], capture_output=True, text=True, check=False)
    assert done.stdout == "module 'dataprophet' has no attribute 'Profil'\n", done.stderr

"""What pip would install on another Python than the one that runs: a program for test_constraints.py.

    python resolve.py 3.14 FILE install --dry-run ...

``pip --python-version`` chooses wheels for that Python, but evaluates markers (``python_version < "3.13"``) for the one
that runs: here both are of the one asked for. ``pip --report`` downloads all that was chosen, gigabytes of it: here the
URLs of the wheels are written to FILE as a JSON object of names, and only metadata is read.
"""

import json
import sys
from pathlib import Path

from pip._vendor.packaging import markers

if __name__ == "__main__":
    version, report, *arguments = sys.argv[1:]
    running = markers.default_environment
    markers.default_environment = lambda: {
        **running(),
        "python_version": version,
        "python_full_version": f"{version}.0",
    }
    assert markers.Marker(f"python_version == '{version}'").evaluate(), "this pip evaluates markers in another way"

    from pip._internal.cli.main import main
    from pip._internal.operations.prepare import RequirementPreparer

    def write(_, requirements, **__):
        Path(report).write_text(json.dumps({found.name.lower(): found.link.url for found in requirements}))
        raise SystemExit  # ends pip, which tells of it as of an error

    assert hasattr(RequirementPreparer, "prepare_linked_requirements_more"), "this pip downloads in another way"
    RequirementPreparer.prepare_linked_requirements_more = write
    main([*arguments, "--python-version", version])
    sys.exit(0 if Path(report).exists() else 1)

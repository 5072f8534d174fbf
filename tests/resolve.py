"""Runs pip for another Python than the one that runs: a program for test_constraints.py.

    python resolve.py 3.14 install --dry-run --report FILE ...

``pip --python-version`` chooses wheels for that Python, but evaluates markers (``python_version < "3.13"``) for the one
that runs. Here both are of the one asked for. What was resolved is not downloaded: its metadata is enough.
"""

import sys

from pip._vendor.packaging import markers

if __name__ == "__main__":
    version, *arguments = sys.argv[1:]
    running = markers.default_environment
    markers.default_environment = lambda: {
        **running(),
        "python_version": version,
        "python_full_version": f"{version}.0",
    }
    assert markers.Marker(f"python_version == '{version}'").evaluate(), "this pip evaluates markers in another way"

    from pip._internal.cli.main import main
    from pip._internal.operations.prepare import RequirementPreparer
    from pip._internal.utils.direct_url_helpers import direct_url_from_link

    def without_downloads(_, requirements, **__):
        for requirement in requirements:  # the report says whence each would come
            requirement.download_info = requirement.download_info or direct_url_from_link(requirement.link)

    assert hasattr(RequirementPreparer, "prepare_linked_requirements_more"), "this pip downloads in another way"
    RequirementPreparer.prepare_linked_requirements_more = without_downloads
    sys.exit(main([*arguments, "--python-version", version]))

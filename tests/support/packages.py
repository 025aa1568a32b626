"""Python as it is on a machine with few packages."""

from importlib.metadata import packages_distributions

# Python runs it at its start: what is absent cannot be imported.
BLOCK = "import sys; sys.modules.update(dict.fromkeys({absent}))"


def block_all_but(there, folder):
    """Write a sitecustomize.py into a folder of PYTHONPATH, so that only these packages are there.

    there: names of packages in lower case, with _ in place of -. Returns the modules that are not.
    """
    absent = {
        module
        for module, names in packages_distributions().items()
        if not {*there, "person_reid"} & {name.lower().replace("-", "_") for name in names}
    }
    absent -= {"person_reid"}
    (folder / "sitecustomize.py").write_text(BLOCK.format(absent=sorted(absent)))
    return absent

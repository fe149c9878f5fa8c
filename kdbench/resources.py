"""Files that travel with kdbench: package data when installed, the repository's own in a checkout."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def path(name: str) -> Path:
    """Absolute path of a file or folder such as `search_spaces/hinton.yaml`, `suites`, `reports/templates`.

    Raises FileNotFoundError if neither the checkout nor the installed package has it.
    """
    for root in (_PACKAGE / "_data", _PACKAGE.parent):
        if (root / name).exists():
            return root / name
    raise FileNotFoundError(f"kdbench has no {name!r}: neither as package data nor in a checkout")

"""Where a launch ran: packages, commit, machine. Kept with its results."""

import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import kdbench


def environment(device: str) -> str:
    """JSON of the Python, the machine and the packages; no variables of the shell, which hold secrets."""
    packages = {item.metadata["Name"]: item.version for item in importlib.metadata.distributions()}
    values: dict[str, Any] = {
        "kdbench": kdbench.__version__,
        "commit": commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": device,
        "cpus": os.cpu_count(),
        "packages": dict(sorted(packages.items(), key=lambda item: item[0].lower())),
    }
    return json.dumps(values, indent=1)


def commit() -> str:
    """The git commit of the checkout that kdbench runs from, `-dirty` where changed; "" when installed."""
    root = Path(kdbench.__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return ""
    try:
        head = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return head.stdout.strip()

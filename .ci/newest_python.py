"""Print the path of the newest Python on this machine, if it is newer than the one that runs this."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path


def candidates() -> Iterator[str]:
    """Yield the interpreters that may be there: on the path, and those of pyenv."""
    yield from filter(None, (shutil.which(f"python3.{minor}") for minor in range(sys.version_info[1] + 1, 30)))
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from map(str, root.glob("versions/*/bin/python"))


def version(interpreter: str) -> tuple[int, ...]:
    """Return the version of an interpreter that can make environments; (0,) of what is none or no final release."""
    code = "import ensurepip, sys, venv; assert sys.version_info[3] == 'final'; print(*sys.version_info[:3])"
    done = subprocess.run([interpreter, "-c", code], capture_output=True, text=True, check=False)
    return (0,) if done.returncode else tuple(map(int, done.stdout.split()))


found = {version(interpreter): interpreter for interpreter in candidates()}
newest = max(found, default=(0,))
if newest[:2] > sys.version_info[:2]:
    print(found[newest])

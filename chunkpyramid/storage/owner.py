"""Who runs: the host, process and job of a run, and when it began."""

from __future__ import annotations

import json
import os
import socket
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from uuid import uuid4

__all__ = ["Owner"]

# where batch systems put the number of a job: Slurm, PBS, LSF, Grid Engine
JOB_VARIABLES = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID")


@dataclass(frozen=True, slots=True)
class Owner:
    """A run: its number among those of one target, and a token that no other run has."""

    number: int
    token: str
    host: str
    pid: int
    job: str | None
    begun: float

    @staticmethod
    def here(number: int) -> Owner:
        """Return this process as the owner of a run that begins now."""
        job = next((os.environ[name] for name in JOB_VARIABLES if os.environ.get(name)), None)
        return Owner(number, uuid4().hex, socket.gethostname(), os.getpid(), job, time.time())

    @staticmethod
    def read(document: bytes | memoryview) -> Owner | None:
        """Return the owner that `document` wrote, None if that is damaged."""
        try:
            told = json.loads(bytes(document))
            return Owner(**{name: told[name] for name in Owner.__dataclass_fields__})
        except (ValueError, KeyError, TypeError):
            return None

    def document(self) -> bytes:
        """Return the owner as JSON."""
        return json.dumps(asdict(self)).encode()

    @property
    def is_here(self) -> bool:
        """Whether this is the process."""
        return (self.host, self.pid) == (socket.gethostname(), os.getpid())

    @property
    def is_dead(self) -> bool:
        """Whether it is known that the process has ended: of other hosts nothing is."""
        if self.host != socket.gethostname():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:
            return False
        return False

    def __str__(self) -> str:
        began = datetime.fromtimestamp(self.begun, UTC).isoformat(sep=" ", timespec="seconds")
        job = f", job {self.job}" if self.job else ""
        return f"run {self.number} of process {self.pid} on {self.host}{job}, begun {began}"

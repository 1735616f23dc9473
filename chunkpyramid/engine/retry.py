"""Failures that may pass: a connection that is lost, a server that is busy or away, an answer that comes too late."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable, Iterator
from time import sleep
from typing import Any

__all__ = ["may_pass", "with_retries"]

TRIES = 3

# Seconds before the second try; before the third there are twice as many.
FIRST_PAUSE = 0.5

# of HTTP: too early, too many requests, and all that servers are to blame for
BUSY = (408, 425, 429)
SERVER_ERRORS = range(500, 600)

# Errors of libraries that are not imported here. Those of aiohttp and botocore have no common base with Python's.
PASSING_NAMES = {
    "ClientConnectionError",
    "ClientPayloadError",
    "ConnectionClosedError",
    "ConnectTimeoutError",
    "EndpointConnectionError",
    "IncompleteRead",
    "ReadTimeoutError",
    "ServerDisconnectedError",
}
PASSING_ERRNOS = {
    errno.EAGAIN,
    errno.ECONNABORTED,
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.EHOSTUNREACH,
    errno.EINTR,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.EPIPE,
    errno.ESTALE,
    errno.ETIMEDOUT,
}


def may_pass(error: BaseException) -> bool:
    """Whether an error, or what it was raised from, may not come again when the same is tried again."""
    return any(map(_may_pass, _causes(error)))


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    if isinstance(error, OSError) and error.errno in PASSING_ERRNOS:
        return True
    if any(kind.__name__ in PASSING_NAMES for kind in type(error).__mro__):
        return True
    status = _status(error)
    return status in BUSY or status in SERVER_ERRORS


def _status(error: BaseException) -> int | None:
    """Return the status of HTTP that an error tells of, as aiohttp and botocore do."""
    response: Any = getattr(error, "response", None)
    told = response.get("ResponseMetadata", {}).get("HTTPStatusCode") if isinstance(response, dict) else None
    status = getattr(error, "status", told)
    return status if isinstance(status, int) else None


def with_retries(attempt: Callable[[bool], None]) -> None:
    """Call a function, and again if it fails with what may pass: three times in all, each pause longer than the last.

    Parameters
    ----------
    attempt : callable
        Called with whether it was tried before.
    """
    for number in range(TRIES):
        try:
            return attempt(number > 0)
        except Exception as error:
            if number + 1 == TRIES or not may_pass(error):
                raise
        # varied, so that not all who failed at once come back at once
        sleep(FIRST_PAUSE * 2**number * random.uniform(0.5, 1.5))

# cython: language_level=3, boundscheck=False, wraparound=False, embedsignature=True
"""Compiled operations on arrays of labels. Everything checks its arguments; nothing here knows about NumPy."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint64_t

include "../common/arrays.pxi"


include "count.pxi"
include "components.pxi"
include "contacts.pxi"
include "groups.pxi"

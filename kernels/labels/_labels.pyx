# cython: language_level=3, boundscheck=False, wraparound=False, embedsignature=True
"""Compiled operations on arrays of labels. Everything checks its arguments; nothing here knows about NumPy."""

from cpython.bytearray cimport PyByteArray_FromStringAndSize
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint64_t

include "../common/arrays.pxi"
include "items.pxi"


include "count.pxi"
include "contacts.pxi"
include "groups.pxi"
include "tally.pxi"
include "renumber.pxi"
include "lookup.pxi"
include "pairs.pxi"
include "points.pxi"
include "scan.pxi"
include "swap.pxi"
include "components.pxi"

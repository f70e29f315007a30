"""What passes between node and worker: a request or an answer of fixed size, then the bytes that it announces."""

from __future__ import annotations

import struct

EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
IMPLICIT_LITTLE = "1.2.840.10008.1.2"
TARGETS = (EXPLICIT_LITTLE, IMPLICIT_LITTLE)

REQUEST = struct.Struct(">BQ")  # index into TARGETS, length of the Part 10 file that follows
ANSWER = struct.Struct(">BQ")  # code, length of the data set that follows
DONE, FAILED, NO_EXTRA = range(3)
MOST = 512 << 20  # bytes of a data set that the node takes back
MEMORY = 3 << 30  # bytes of address space of the worker

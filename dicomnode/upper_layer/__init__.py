"""The DICOM upper layer (PS3.8) and DIMSE messages (PS3.7), sans-IO: bytes in, events out."""

from dicomnode.upper_layer.commands import Command, Field, echo_request, response_to, store_request
from dicomnode.upper_layer.connection import Connection, Context, Event, Failure, Lost, Release, Role
from dicomnode.upper_layer.messages import MOST_BUFFERS, DataSet
from dicomnode.upper_layer.pdus import (
    APPLICATION_CONTEXT,
    MAX_CONTEXTS,
    Abort,
    AbortReason,
    AnsweredContext,
    AssociateAccept,
    AssociateReject,
    AssociateRequest,
    ContextResult,
    ProposedContext,
)
from dicomnode.upper_layer.table import State

__all__ = [
    "APPLICATION_CONTEXT",
    "MAX_CONTEXTS",
    "MOST_BUFFERS",
    "Abort",
    "AbortReason",
    "AnsweredContext",
    "AssociateAccept",
    "AssociateReject",
    "AssociateRequest",
    "Command",
    "Connection",
    "Context",
    "ContextResult",
    "DataSet",
    "Event",
    "Failure",
    "Field",
    "Lost",
    "ProposedContext",
    "Release",
    "Role",
    "State",
    "echo_request",
    "response_to",
    "store_request",
]

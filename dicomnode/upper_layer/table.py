"""PS3.8 Table 9-10, the upper layer's state machine: the only rulebook of `connection`."""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """The states of PS3.8 Tables 9-1 to 9-5."""

    IDLE = 1
    TRANSPORT_OPEN = 2
    AWAITING_LOCAL_ACCEPT = 3
    AWAITING_TRANSPORT = 4
    AWAITING_ACCEPT = 5
    ESTABLISHED = 6
    AWAITING_RELEASE_RP = 7
    AWAITING_LOCAL_RELEASE = 8
    COLLISION_REQUESTOR_LOCAL = 9
    COLLISION_ACCEPTOR_RP = 10
    COLLISION_REQUESTOR_RP = 11
    COLLISION_ACCEPTOR_LOCAL = 12
    AWAITING_CLOSE = 13


class Trigger(Enum):
    """The events of PS3.8 Table 9-10, by their numbers."""

    ASSOCIATE_REQUEST = 1
    TRANSPORT_CONFIRMED = 2
    ACCEPT_PDU = 3
    REJECT_PDU = 4
    TRANSPORT_INDICATED = 5
    REQUEST_PDU = 6
    ACCEPT = 7
    REJECT = 8
    P_DATA_REQUEST = 9
    P_DATA_PDU = 10
    RELEASE_REQUEST = 11
    RELEASE_RQ_PDU = 12
    RELEASE_RP_PDU = 13
    RELEASE_RESPONSE = 14
    ABORT_REQUEST = 15
    ABORT_PDU = 16
    TRANSPORT_CLOSED = 17
    TIMER_EXPIRED = 18
    INVALID_PDU = 19


class Action(Enum):
    """The actions of PS3.8 Tables 9-6 to 9-9."""

    AE_1 = "AE-1"
    AE_2 = "AE-2"
    AE_3 = "AE-3"
    AE_4 = "AE-4"
    AE_5 = "AE-5"
    AE_6 = "AE-6"
    AE_7 = "AE-7"
    AE_8 = "AE-8"
    DT_1 = "DT-1"
    DT_2 = "DT-2"
    AR_1 = "AR-1"
    AR_2 = "AR-2"
    AR_3 = "AR-3"
    AR_4 = "AR-4"
    AR_5 = "AR-5"
    AR_6 = "AR-6"
    AR_7 = "AR-7"
    AR_8 = "AR-8"
    AR_9 = "AR-9"
    AR_10 = "AR-10"
    AA_1 = "AA-1"
    AA_2 = "AA-2"
    AA_3 = "AA-3"
    AA_4 = "AA-4"
    AA_5 = "AA-5"
    AA_6 = "AA-6"
    AA_7 = "AA-7"
    AA_8 = "AA-8"


# One row per event: which action in which states.
_ROWS: dict[int, dict[Action, tuple[int, ...]]] = {
    1: {Action.AE_1: (1,)},
    2: {Action.AE_2: (4,)},
    3: {Action.AA_1: (2,), Action.AE_3: (5,), Action.AA_8: (3, 6, 7, 8, 9, 10, 11, 12), Action.AA_6: (13,)},
    4: {Action.AA_1: (2,), Action.AE_4: (5,), Action.AA_8: (3, 6, 7, 8, 9, 10, 11, 12), Action.AA_6: (13,)},
    5: {Action.AE_5: (1,)},
    6: {Action.AE_6: (2,), Action.AA_8: (3, 5, 6, 7, 8, 9, 10, 11, 12), Action.AA_7: (13,)},
    7: {Action.AE_7: (3,)},
    8: {Action.AE_8: (3,)},
    9: {Action.DT_1: (6,), Action.AR_7: (8,)},
    10: {
        Action.AA_1: (2,),
        Action.DT_2: (6,),
        Action.AR_6: (7,),
        Action.AA_8: (3, 5, 8, 9, 10, 11, 12),
        Action.AA_6: (13,),
    },
    11: {Action.AR_1: (6,)},
    12: {
        Action.AA_1: (2,),
        Action.AR_2: (6,),
        Action.AR_8: (7,),
        Action.AA_8: (3, 5, 8, 9, 10, 11, 12),
        Action.AA_6: (13,),
    },
    13: {
        Action.AA_1: (2,),
        Action.AR_3: (7, 11),
        Action.AR_10: (10,),
        Action.AA_8: (3, 5, 6, 8, 9, 12),
        Action.AA_6: (13,),
    },
    14: {Action.AR_4: (8, 12), Action.AR_9: (9,)},
    15: {Action.AA_1: (3, 5, 6, 7, 8, 9, 10, 11, 12), Action.AA_2: (4,)},
    16: {Action.AA_2: (2, 13), Action.AA_3: (3, 5, 6, 7, 8, 9, 10, 11, 12)},
    17: {Action.AA_5: (2,), Action.AA_4: (3, 4, 5, 6, 7, 8, 9, 10, 11, 12), Action.AR_5: (13,)},
    18: {Action.AA_2: (2, 13)},
    19: {Action.AA_1: (2,), Action.AA_8: (3, 5, 6, 7, 8, 9, 10, 11, 12), Action.AA_7: (13,)},
}

TABLE: dict[tuple[State, Trigger], Action] = {
    (State(state), Trigger(number)): action
    for number, row in _ROWS.items()
    for action, states in row.items()
    for state in states
}

# Where each action leads; None where it depends on the PDU (AE-6) or on our role (AR-8).
NEXT: dict[Action, State | None] = {
    Action.AE_1: State.AWAITING_TRANSPORT,
    Action.AE_2: State.AWAITING_ACCEPT,
    Action.AE_3: State.ESTABLISHED,
    Action.AE_4: State.IDLE,
    Action.AE_5: State.TRANSPORT_OPEN,
    Action.AE_6: None,
    Action.AE_7: State.ESTABLISHED,
    Action.AE_8: State.AWAITING_CLOSE,
    Action.DT_1: State.ESTABLISHED,
    Action.DT_2: State.ESTABLISHED,
    Action.AR_1: State.AWAITING_RELEASE_RP,
    Action.AR_2: State.AWAITING_LOCAL_RELEASE,
    Action.AR_3: State.IDLE,
    Action.AR_4: State.AWAITING_CLOSE,
    Action.AR_5: State.IDLE,
    Action.AR_6: State.AWAITING_RELEASE_RP,
    Action.AR_7: State.AWAITING_LOCAL_RELEASE,
    Action.AR_8: None,
    Action.AR_9: State.COLLISION_REQUESTOR_RP,
    Action.AR_10: State.COLLISION_ACCEPTOR_LOCAL,
    Action.AA_1: State.AWAITING_CLOSE,
    Action.AA_2: State.IDLE,
    Action.AA_3: State.IDLE,
    Action.AA_4: State.IDLE,
    Action.AA_5: State.IDLE,
    Action.AA_6: State.AWAITING_CLOSE,
    Action.AA_7: State.AWAITING_CLOSE,
    Action.AA_8: State.AWAITING_CLOSE,
}

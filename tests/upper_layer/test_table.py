"""The transition table against pynetdicom's transcription of PS3.8 Table 9-10."""

from __future__ import annotations

from pynetdicom.fsm import ACTIONS, TRANSITION_TABLE

from dicomnode.upper_layer.table import NEXT, TABLE, Action


def test_every_cell_is_the_same() -> None:
    ours = {(f"Evt{trigger.value}", f"Sta{state.value}"): action.value for (state, trigger), action in TABLE.items()}
    assert ours == TRANSITION_TABLE


def test_actions_lead_to_the_same_states() -> None:
    for action, state in NEXT.items():
        theirs = ACTIONS[action.value][2]
        if state is None:
            assert action in (Action.AE_6, Action.AR_8)
            assert isinstance(theirs, tuple)
        else:
            assert theirs == f"Sta{state.value}"

"""Keyed digests and base32 are those of the standard library, whatever is faster."""

import base64
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.keys import base32, keyed_digest


@given(st.binary(max_size=64), st.text(max_size=20), st.binary(max_size=300))
def test_a_keyed_digest_is_hmac_sha_256_of_label_zero_and_value(key: bytes, label: str, value: bytes) -> None:
    expected = hmac.new(key, label.encode() + b"\0" + value, "sha256").digest()
    assert keyed_digest(key, label, value) == expected
    assert keyed_digest(key, label, value) == expected  # begun before


def test_a_key_longer_than_a_block_is_refused() -> None:
    with pytest.raises(ValueError, match="longer than a block"):
        keyed_digest(bytes(65), "label", b"")


@given(st.binary(max_size=70))
def test_base32_is_that_of_rfc_4648_in_lower_case_without_padding(value: bytes) -> None:
    assert base32(value) == base64.b32encode(value).decode("ascii").rstrip("=").lower()

"""Who changes the half of his address that is his to choose is still the same client."""

import pytest

from shared.places import place_of


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:1:2:3", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("2001:db8::", "2001:db8::/64"),
        ("local", "local"),
        ("", ""),
    ],
)
def test_a_place(address: str, place: str) -> None:
    assert place_of(address) == place

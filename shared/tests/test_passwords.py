"""What stands for a hash that nobody has costs what the hashes of its kind cost."""

from typing import Final

import bcrypt
import pytest
from argon2 import PasswordHasher, extract_parameters

from shared.passwords import decoy_of, hash_password, kind_of_now, verify_password

PASSWORD: Final = "correct horse battery staple"


@pytest.mark.parametrize(
    "password_hash",
    [
        pytest.param(hash_password(PASSWORD), id="of now"),
        pytest.param(PasswordHasher(1, 8192, 2).hash(PASSWORD), id="older"),
    ],
)
def test_a_decoy_of_argon2_has_the_parameters_of_its_kind(password_hash: str) -> None:
    decoy = decoy_of(password_hash.rsplit("$", 2)[0])
    assert extract_parameters(decoy) == extract_parameters(password_hash), "lengths as well"
    assert verify_password(decoy, PASSWORD) is False


@pytest.mark.parametrize("letter", ["a", "b", "y"])
def test_a_decoy_of_bcrypt_is_a_hash_of_bcrypt(letter: str) -> None:
    decoy = decoy_of(f"$2{letter}$04")
    assert decoy == decoy_of("$2b$04"), "the letters cost the same"
    salt = decoy[:29].encode()
    assert len(bcrypt.hashpw(PASSWORD.encode(), salt)) == len(decoy)
    assert bcrypt.hashpw(PASSWORD.encode(), salt)[:29] == salt, "no bit of the salt is dropped"
    assert verify_password(decoy, PASSWORD) is False


def test_the_kind_of_now_is_that_of_a_hash_made_now() -> None:
    assert hash_password(PASSWORD).rsplit("$", 2)[0] == kind_of_now()

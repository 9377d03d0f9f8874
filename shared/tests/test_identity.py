"""A service believes its gateway and nobody else."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import jwt
import pytest

from shared.errors import Unauthorized
from shared.identity import (
    INSIDE,
    ISSUER,
    SKEW,
    IdentitySigner,
    IdentityVerifier,
    Principal,
    generate_keys,
)

KEYS = generate_keys()
PRINCIPAL = Principal(user=5, group=2, token=7)


def forged(**changes: object) -> str:
    """A good token but for these claims; None leaves one out, a function is told the time."""
    now = int(time.time())
    claims: dict[str, object] = {
        "iss": ISSUER, "aud": INSIDE, "iat": now, "exp": now + 60,
        "sub": "1", "principal": {"user": 1, "group": 1},
    }  # fmt: skip
    key = changes.pop("key", KEYS.private_key)
    algorithm = changes.pop("algorithm", "EdDSA")
    kid = changes.pop("kid", KEYS.key_id)
    claims |= {name: value(now) if callable(value) else value for name, value in changes.items()}
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, str(key), str(algorithm), headers={"kid": kid})


def verifier() -> IdentityVerifier:
    return IdentityVerifier(KEYS.public_keys)


def test_what_the_gateway_signed_is_believed() -> None:
    token = IdentitySigner(KEYS.private_key).sign(PRINCIPAL)
    assert verifier().verify(token) == PRINCIPAL


def test_it_is_signed_for_a_minute() -> None:
    token = IdentitySigner(KEYS.private_key).sign(PRINCIPAL)
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == 60
    assert abs(claims["iat"] - time.time()) < 30


def test_a_service_whose_clock_is_behind_believes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    gateways = time.time() + SKEW - 1
    with monkeypatch.context() as patch:
        patch.setattr("shared.identity.time.time", lambda: gateways)
        token = IdentitySigner(KEYS.private_key).sign(PRINCIPAL)
    assert verifier().verify(token) == PRINCIPAL


def test_a_token_is_made_once_and_reused() -> None:
    signer = IdentitySigner(KEYS.private_key)
    assert signer.sign(PRINCIPAL) == signer.sign(PRINCIPAL)
    assert signer.sign(PRINCIPAL) != signer.sign(PRINCIPAL, "custom:reports")


def test_the_gateway_itself_is_no_administrator() -> None:
    assert Principal(user=1, group=1).is_admin
    assert not Principal(user=0, group=1, system=True).is_admin
    assert not PRINCIPAL.is_admin


STRANGER = generate_keys()


def later(seconds: int) -> Callable[[int], int]:
    return lambda now: now + seconds


@pytest.mark.parametrize(
    "changes",
    [
        {"key": STRANGER.private_key},
        {"kid": "unknown"},
        {"kid": ""},
        {"exp": later(-1)},
        {"exp": later(61)},
        {"exp": 1 << 40},
        {"exp": "never"},
        {"exp": None},
        {"iat": later(-10)},  # good for seventy seconds
        {"iat": later(3600), "exp": later(3660)},
        {"iat": None},
        {"iss": "somebody"},
        {"iss": None},
        {"aud": "custom:reports"},
        {"aud": None},
        {"sub": None},
        {"principal": None},
        {"principal": {"user": "root"}},
        {"algorithm": "none", "key": ""},
        {"algorithm": "HS256", "key": "a secret that is long enough for this algorithm"},
    ],
)
def test_anything_else_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(Unauthorized):
        verifier().verify(forged(**changes))


@pytest.mark.parametrize("token", ["", "x", "a.b.c"])
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(Unauthorized):
        verifier().verify(token)


def test_a_remembered_token_still_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    checker = verifier()
    token = forged()
    checker.verify(token)
    in_two_minutes = time.time() + 120
    monkeypatch.setattr(time, "time", lambda: in_two_minutes)
    forgotten = verifier()
    with pytest.raises(Unauthorized):
        checker.verify(forged(exp=int(in_two_minutes) - 1))
    with pytest.raises(Unauthorized):
        forgotten.verify(forged(exp=int(in_two_minutes) - 1))


@pytest.mark.parametrize("keys", ["", "{}", '{"keys": 5}', '{"keys": [{"kty": "RSA"}]}'])
def test_keys_that_are_none_are_refused_at_start(keys: str) -> None:
    with pytest.raises(ValueError, match="IDENTITY_PUBLIC_KEYS"):
        IdentityVerifier(keys)


def test_keys_rotate_by_their_file_without_a_restart(tmp_path: Path) -> None:
    old, new = generate_keys(), generate_keys()
    file = tmp_path / "keys.json"
    file.write_text(old.public_keys)
    verifier = IdentityVerifier(old.public_keys, file=file)
    by_old = IdentitySigner(old.private_key).sign(PRINCIPAL)
    by_new = IdentitySigner(new.private_key).sign(PRINCIPAL)
    assert verifier.verify(by_old) == PRINCIPAL
    with pytest.raises(Unauthorized):
        verifier.verify(by_new)
    file.write_text('{"keys": [')
    with pytest.raises(Unauthorized):
        verifier.verify(by_new)
    both = [json.loads(keys.public_keys)["keys"][0] for keys in (old, new)]
    file.write_text(json.dumps({"keys": both}))
    assert (verifier.verify(by_new), verifier.verify(by_old)) == (PRINCIPAL, PRINCIPAL)
    file.write_text(json.dumps({"keys": both[1:]}))
    other = Principal(user=6, group=3)
    assert verifier.verify(IdentitySigner(new.private_key).sign(other)) == other
    with pytest.raises(Unauthorized):
        verifier.verify(by_old)


def test_a_signer_takes_a_new_key_from_its_file_and_survives_a_broken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = generate_keys(), generate_keys()
    file = tmp_path / "key.pem"
    file.write_text(old.private_key)
    signer = IdentitySigner(old.private_key, file=file)
    by_old = signer.sign(PRINCIPAL)
    file.write_text("-----BEGIN PRIVATE")
    clock = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: clock + 2)
    assert signer.sign(PRINCIPAL) == by_old
    file.write_text(new.private_key)
    monkeypatch.setattr(time, "monotonic", lambda: clock + 4)
    by_new = signer.sign(PRINCIPAL)
    assert IdentityVerifier(new.public_keys).verify(by_new) == PRINCIPAL
    assert jwt.get_unverified_header(by_new)["kid"] == new.key_id


@pytest.mark.parametrize("key", ["", "nonsense", KEYS.public_keys])
def test_a_signing_key_that_is_none_is_refused_at_start(key: str) -> None:
    with pytest.raises(ValueError, match="IDENTITY_PRIVATE_KEY"):
        IdentitySigner(key)

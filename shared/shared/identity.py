"""Who a request comes from, as the gateway tells the services: a signed token of a minute.

The private key is only at the gateway. A service holds the public keys and believes nothing else.
"""

import base64
import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import jwt
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from jwt.algorithms import OKPAlgorithm

from shared.errors import Unauthorized

ISSUER: Final = "directoire-gateway"
INSIDE: Final = "inside"
LIFETIME: Final = 60.0  # seconds
SKEW: Final = 5.0  # seconds that the clock of a service may be behind the gateway's
ADMINISTRATORS: Final = 1  # the id of the group that may do everything, always
_LOOK_EVERY: Final = 1.0  # seconds between looks at the file of the signing key
_REMEMBERED: Final = 10_000  # verified tokens kept; one is about 1 KB


class Principal(msgspec.Struct, frozen=True):
    """The caller: a user, that user's group, and the token used.

    ``scope`` says what of the group's rights the token carries: all when empty, else words
    ``read`` and ``table:<name>`` (shared.rights.Scope).
    """

    user: int
    group: int
    token: int = 0  # id of the API token; 0 for none
    system: bool = False  # the gateway speaking for itself (resolving a token)
    scope: str = ""

    @property
    def is_admin(self) -> bool:
        return self.group == ADMINISTRATORS and not self.system and not self.scope


GATEWAY: Final = Principal(user=0, group=0, system=True)


class IdentityKeys(msgspec.Struct, frozen=True):
    """A signing key: the private half as PEM, the public one as a JWK set, and its name."""

    private_key: str
    public_keys: str
    key_id: str


def generate_keys() -> IdentityKeys:
    """A fresh key pair."""
    private = Ed25519PrivateKey.generate()
    jwk = OKPAlgorithm.to_jwk(private.public_key(), as_dict=True)
    jwk["kid"] = key_id = thumbprint(jwk)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return IdentityKeys(pem.decode(), msgspec.json.encode({"keys": [jwk]}).decode(), key_id)


def thumbprint(jwk: Mapping[str, str]) -> str:
    """What names a key: it follows from the key, so that nobody has to be told (RFC 7638)."""
    members = msgspec.json.encode({name: jwk[name] for name in ("crv", "kty", "x")})
    return base64.urlsafe_b64encode(hashlib.sha256(members).digest()).decode().rstrip("=")


class IdentitySigner:
    """Signs principals; reuses a token for half of its life."""

    def __init__(self, private_key_pem: str, *, file: Path | None = None) -> None:
        """``file`` is where the key came from: one that is put there later signs from then on.

        Raises ValueError for what is no Ed25519 key.
        """
        self._key, self._key_id = _signing_key(private_key_pem)
        self._made: dict[tuple[Principal, str], tuple[float, str]] = {}
        self._file = file
        self._read_at = None if file is None else _written(file)
        self._looked = time.monotonic()

    def sign(self, principal: Principal, audience: str = INSIDE) -> str:
        self._read_again()
        now = time.time()
        made = self._made.get((principal, audience))
        if made is not None and abs(now - made[0]) < LIFETIME / 2:
            return made[1]
        claims = {
            "iss": ISSUER,
            "aud": audience,
            "iat": int(now - SKEW),
            "exp": int(now - SKEW) + int(LIFETIME),
            "sub": str(principal.user),
            "principal": msgspec.to_builtins(principal),
        }
        token = jwt.encode(claims, self._key, algorithm="EdDSA", headers={"kid": self._key_id})
        if len(self._made) >= _REMEMBERED:
            self._made.clear()
        self._made[principal, audience] = (now, token)
        return token

    def _read_again(self) -> None:
        """Looks at the file once a second. One that is away or broken changes nothing."""
        now = time.monotonic()
        if self._file is None or now < self._looked + _LOOK_EVERY:
            return
        self._looked = now
        written = _written(self._file)
        if written is None or written == self._read_at:
            return
        try:
            self._key, self._key_id = _signing_key(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return  # half written: the next look finds it whole
        self._read_at = written
        self._made.clear()


@dataclass(frozen=True, slots=True)
class _Verified:
    until: float
    principal: Principal


class IdentityVerifier:
    """Checks tokens of the gateway; remembers a verified one until it expires."""

    def __init__(
        self, public_keys: str, audience: str = INSIDE, *, file: Path | None = None
    ) -> None:
        """``public_keys`` is a JWK set as JSON text. Raises ValueError when it is none.

        ``file`` is where they came from: keys that are put there later are believed, and those
        that are gone are not, from the next token on that is not remembered.
        """
        self._audience = audience
        self._verified: dict[str, _Verified] = {}
        self._file = file
        self._read_at = None if file is None else _written(file)
        self._keys = _keys_in(public_keys)

    def verify(self, token: str) -> Principal:
        """The principal the gateway vouches for. Raises Unauthorized for anything else."""
        known = self._verified.get(token)
        if known is not None and time.time() < known.until:
            return known.principal
        self._read_again()
        try:
            key = self._keys[jwt.get_unverified_header(token).get("kid", "")]
            claims = jwt.decode(
                token,
                key,  # pyright: ignore[reportArgumentType]
                algorithms=["EdDSA"],
                audience=self._audience,
                issuer=ISSUER,
                options={"require": ["exp", "iat", "aud", "iss", "sub"]},
            )
            until = float(claims["exp"])
            if until - float(claims["iat"]) > LIFETIME:
                raise jwt.ExpiredSignatureError("it would live longer than any of the gateway's")
            principal = msgspec.convert(claims["principal"], Principal)
        except (jwt.PyJWTError, KeyError, msgspec.ValidationError) as error:
            raise Unauthorized("This service accepts requests of its gateway only") from error
        if len(self._verified) >= _REMEMBERED:
            self._verified.clear()
        self._verified[token] = _Verified(until, principal)
        return principal

    def _read_again(self) -> None:
        """Keys rotate without a restart. A file that is away or broken changes nothing."""
        if self._file is None:
            return
        written = _written(self._file)
        if written is None or written == self._read_at:
            return
        try:
            self._keys = _keys_in(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return  # half written: the next token looks again
        self._read_at = written
        self._verified.clear()


def _written(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino


def _signing_key(pem: str) -> tuple[Ed25519PrivateKey, str]:
    """The key and its name. Raises ValueError."""
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (TypeError, ValueError, UnsupportedAlgorithm):
        key = None
    if key is None or not isinstance(key, Ed25519PrivateKey):
        raise ValueError("IDENTITY_PRIVATE_KEY must be an Ed25519 key as PEM")
    return key, thumbprint(OKPAlgorithm.to_jwk(key.public_key(), as_dict=True))


def _keys_in(public_keys: str) -> dict[str, object]:
    """The keys by their names; what the set calls them is not asked."""
    try:
        keys = msgspec.json.decode(public_keys, type=dict[str, list[dict[str, str]]])["keys"]
        return {thumbprint(key): OKPAlgorithm.from_jwk(dict(key)) for key in keys}
    except (msgspec.MsgspecError, KeyError, jwt.PyJWTError) as error:
        raise ValueError("IDENTITY_PUBLIC_KEYS must be a JWK set with EdDSA keys") from error

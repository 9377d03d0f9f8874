"""The gateway's signing key turned in the files that the gateway and the services read.

At every moment the services believe the key that the gateway signs with: they are told of the new
one first, and of the end of the old one when nothing signed with it is good any more.
"""

import time
from pathlib import Path
from typing import Final

import msgspec

from shared.identity import LIFETIME, generate_keys

OVERLAP: Final = LIFETIME + 10  # seconds in which both keys are believed


def rotate_identity(private: Path, public: Path, overlap: float) -> None:
    """``private`` is the gateway's PEM file, ``public`` the services' JWK set.

    A run that breaks off leaves keys that fit; one more run turns them.
    """
    made = generate_keys()
    believed = _keys_in(public.read_text(encoding="utf-8"))
    new = _keys_in(made.public_keys)
    _replace(public, _key_set([*believed, *new]))
    _replace(private, made.private_key)
    time.sleep(overlap)
    _replace(public, _key_set(new))


def _keys_in(text: str) -> list[dict[str, str]]:
    return msgspec.json.decode(text, type=dict[str, list[dict[str, str]]])["keys"]


def _key_set(keys: list[dict[str, str]]) -> str:
    return msgspec.json.encode({"keys": keys}).decode()


def _replace(path: Path, text: str) -> None:
    """Write into the file itself: a container that has this one file mounted goes on with the
    former one where another takes its place. Who reads half a key keeps what it has and looks
    again; a copy lies beside it until all is written.
    """
    copy = path.with_name(f"{path.name}.new")
    copy.touch(mode=0o600)
    copy.write_text(text, encoding="utf-8")
    path.write_text(text, encoding="utf-8")
    copy.unlink()

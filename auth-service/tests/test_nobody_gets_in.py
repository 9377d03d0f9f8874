"""Every route of the service, asked directly: nothing without the gateway's signature."""

import time

import jwt
import pytest
from aiohttp import web

from auth_service.app import make_app
from auth_service.settings import Settings
from shared.identity import IdentitySigner, Principal, generate_keys
from shared.service import IDENTITY_HEADER
from shared.testing import KEYS, SIGNER, environment, serving

ADMINISTRATOR = Principal(user=1, group=1)
STRANGER = generate_keys()


def signed(**changes: object) -> str:
    """By the gateway's own key, with other claims; without those that are None."""
    good = SIGNER.sign(ADMINISTRATOR)
    claims = jwt.decode(good, options={"verify_signature": False}) | changes
    claims = {name: value for name, value in claims.items() if value is not None}
    key_id = jwt.get_unverified_header(good)["kid"]
    return jwt.encode(claims, KEYS.private_key, "EdDSA", headers={"kid": key_id})


FORGED = {  # made when they are sent: a minute later they would be refused for their age
    "nothing": lambda: None,
    "garbage": lambda: "garbage",
    "of another key": lambda: IdentitySigner(STRANGER.private_key).sign(ADMINISTRATOR),
    "of another audience": lambda: SIGNER.sign(ADMINISTRATOR, "custom:reports"),
    "of another issuer": lambda: signed(iss="directoire-auth"),
    "without an end": lambda: signed(exp=None),
    "without a beginning": lambda: signed(iat=None),
    "for longer than a minute": lambda: signed(exp=int(time.time()) + 3600),
    "cut": lambda: SIGNER.sign(ADMINISTRATOR)[:-4],
}
PUBLIC = {"request-token", "login", "refresh", "forgot-password", "reset-password"}
OPEN = {"/livez", "/readyz", "/readyz/{part}", "/metrics"}


@pytest.mark.parametrize("kind", FORGED)
async def test_no_route_answers_a_forged_identity(
    database_url: str, redis_prefix: str, kind: str
) -> None:
    app = make_app(Settings.model_validate(environment(database_url, redis_prefix)))
    token = FORGED[kind]()
    headers = {} if token is None else {IDENTITY_HEADER: token}
    asked = 0
    async with serving(app) as client:
        for route in app.router.routes():
            assert isinstance(route.resource, web.Resource)
            canonical = route.resource.canonical
            if canonical in OPEN or (token is None and canonical.rsplit("/", 1)[-1] in PUBLIC):
                continue
            path = canonical.replace("{table}", "directus_users").replace("{id}", "1")
            path = path.replace("{token}", "1")
            async with client.http.request(route.method, path, headers=headers) as response:
                assert response.status == 401, (route.method, path)
            asked += 1
    assert asked > 60

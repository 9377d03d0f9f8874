"""Every route of the service, asked directly: nothing without the gateway's signature."""

import pytest
from aiohttp import web

from auth_service.app import make_app
from auth_service.settings import Settings
from shared.identity import IdentitySigner, Principal, generate_keys
from shared.service import IDENTITY_HEADER
from shared.testing import SIGNER, environment, serving

ADMINISTRATOR = Principal(user=1, group=1)
STRANGER = generate_keys()
FORGED = {
    "nothing": None,
    "garbage": "garbage",
    "of another key": IdentitySigner(STRANGER.private_key).sign(ADMINISTRATOR),
    "of another audience": SIGNER.sign(ADMINISTRATOR, "custom:reports"),
    "cut": SIGNER.sign(ADMINISTRATOR)[:-4],
}
PUBLIC = {"request-token", "login", "refresh", "forgot-password", "reset-password"}
OPEN = {"/livez", "/readyz", "/readyz/{part}", "/metrics"}


@pytest.mark.parametrize("kind", FORGED)
async def test_no_route_answers_a_forged_identity(
    database_url: str, redis_prefix: str, kind: str
) -> None:
    app = make_app(Settings.model_validate(environment(database_url, redis_prefix)))
    token = FORGED[kind]
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

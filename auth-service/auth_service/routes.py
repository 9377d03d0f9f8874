"""Everything auth-service serves, as one table."""

from auth_service.handlers import groups, hashes, links, principals, sessions, tokens, users
from shared.row_routes import row_routes
from shared.service import Route, any_update, delete, get, post

ROUTES = [
    Route("POST", "auth/request-token", tokens.request_token, public=True),
    Route("POST", "auth/login", sessions.login, public=True),
    Route("POST", "auth/refresh", sessions.refresh, public=True),
    Route("POST", "auth/forgot-password", links.forgot_password, public=True),
    Route("POST", "auth/reset-password", links.reset_password, public=True),
    get("auth/logout", sessions.logout),
    post("auth/logout", sessions.logout),
    get("users", users.list_users),
    post("users", users.create_user),
    post("users/invite", users.invite),
    get("users/{id}", users.get_user),
    *any_update("users/{id}", users.update_user),
    delete("users/{id}", users.delete_user),
    get("users/{id}/tokens", tokens.list_tokens),
    post("users/{id}/tokens", tokens.create_token),
    delete("users/{id}/tokens/{token}", tokens.revoke_token),
    get("groups", groups.list_groups),
    post("groups", groups.create_group),
    get("groups/{id}", groups.get_group),
    *any_update("groups/{id}", groups.update_group),
    delete("groups/{id}", groups.delete_group),
    get("hash", hashes.old_hash),
    Route("POST", "hash", hashes.old_hash, pure=True),
    get("random", hashes.old_random),
    Route("POST", "random", hashes.old_random, pure=True),
    Route("POST", "utils/hash/generate", hashes.generate, pure=True),
    Route("POST", "utils/hash/verify", hashes.verify, pure=True),
    get("utils/random/string", hashes.random_string),
    *row_routes("directus_users", "directus_groups"),
    Route("POST", "/internal/principals", principals.resolve_token, versioned=False),
]

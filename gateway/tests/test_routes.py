"""Every path goes to the service that serves it, however it is spelled."""

import pytest

from gateway.routes import API_ROUTES, ROOT_ROUTES, InvalidPath, RoutingTable

TABLE = RoutingTable()


@pytest.mark.parametrize(
    ("method", "path", "service", "normalized"),
    [
        ("POST", "/api/1.1/auth/request-token", "auth", "/api/1.1/auth/request-token"),
        ("GET", "/api/1.1/users", "auth", "/api/1.1/users"),
        ("GET", "/api/1/groups/7", "auth", "/api/1/groups/7"),
        ("GET", "/api/1.1/tables", "schema", "/api/1.1/tables"),
        ("GET", "/api/1.1/tables/airports", "schema", "/api/1.1/tables/airports"),
        ("GET", "/api/1.1/tables/airports/columns/name", "schema", None),
        ("POST", "/api/1.1/tables/airports/columns/name/textinput", "schema", None),
        ("POST", "/api/1.1/privileges/1", "schema", None),
        ("GET", "/api/1.1/tables/airports/rows", "items", None),
        ("DELETE", "/api/1.1/tables/airports/rows/bulk", "items", None),
        ("GET", "/api/1.1/tables/airports/rows/1/revisions", "items", None),
        ("GET", "/api/1.1/tables/airports/typeahead", "items", None),
        ("GET", "/api/1.1/activity", "items", None),
        ("GET", "/api/1.1/tables/directus_users/rows/2", "auth", None),
        ("GET", "/api/1.1/tables/directus_groups/rows", "auth", None),
        ("GET", "/api/1.1/tables/directus_privileges/rows", "schema", None),
        ("PUT", "/api/1.1/tables/directus_files/rows/1", "files", None),
        ("GET", "/api/1.1/tables/directus_bookmarks/rows", "settings", None),
        ("GET", "/api/1.1/tables/directus_activity/rows", "items", None),
        ("GET", "/api/1.1/tables/directus_users/typeahead", "items", None),
        ("GET", "/api/1.1/tables/airports/preferences", "settings", None),
        ("PUT", "/api/1.1/settings/global", "settings", None),
        ("GET", "/api/1.1/messages/rows/", "settings", "/api/1.1/messages/rows"),
        ("POST", "/api/1.1/files", "files", None),
        ("POST", "/api/1.1/upload/link", "files", None),
        ("GET", "/storage/uploads/00001.jpg", "files", "/storage/uploads/00001.jpg"),
        ("HEAD", "/thumbnail/100/100/crop/best/a.jpg", "files", None),
        ("GET", "/api//1.1/tables", "schema", "/api/1.1/tables"),
        ("GET", "//api/1.1//tables//airports/rows//", "items", "/api/1.1/tables/airports/rows"),
        ("GET", "/api/1.0/tables", "schema", "/api/1/tables"),
        ("GET", "/api/1.1/tables/airports/rows.json", "items", "/api/1.1/tables/airports/rows"),
        ("GET", "/storage/uploads/data.json", "files", "/storage/uploads/data.json"),
        ("GET", "/api/1.1/tables/%64irectus_users/rows", "auth",
         "/api/1.1/tables/directus_users/rows"),
        ("GET", "/api/1.1/tables/a%2Fb/rows", "items", "/api/1.1/tables/a%2Fb/rows"),
        ("GET", "/api/1.1/tables/caf%c3%a9/rows", "items", "/api/1.1/tables/caf%C3%A9/rows"),
    ],
)  # fmt: skip
def test_goes_to(method: str, path: str, service: str, normalized: str | None) -> None:
    match = TABLE.match(path)
    route = match.route(method)
    assert route is not None
    assert route.service == service
    assert match.path == (normalized or path)


@pytest.mark.parametrize(
    "path",
    [
        "/", "/api", "/api/1.1", "/api/1.1/.json", "/api/2/tables", "/api/1.2/tables", "/tables",
        "/internal/principals", "/api/1.1/internal/principals", "/api/1.1/nothing",
        "/api/1.1/tables/a/rowz", "/storage", "/storage/private/x", "/livez/x",
    ],
)  # fmt: skip
def test_is_not_routed(path: str) -> None:
    assert TABLE.match(path).routes == ()


@pytest.mark.parametrize(
    "path",
    [
        "/api/1.1/../internal/principals",
        "/api/1.1/%2e%2e/internal",
        "/storage/uploads/..%00/x",
        "/api/1.1/tables/%ff/rows",
        "/api/1.1/tables/a%0d%0ab/rows",
        "/api/1.1/tables/./rows",
    ],
)
def test_is_no_path(path: str) -> None:
    with pytest.raises(InvalidPath):
        TABLE.match(path)


def test_only_reads_and_the_sign_in_need_no_token() -> None:

    public = [route.pattern for route in (*API_ROUTES, *ROOT_ROUTES) if route.public]
    assert public == [
        "auth/request-token",
        "auth/login",
        "auth/refresh",
        "auth/forgot-password",
        "auth/reset-password",
        "files/tus",
        "asyncapi.json",
    ]
    either = [route.pattern for route in (*API_ROUTES, *ROOT_ROUTES) if route.either]
    assert either == ["storage/uploads/**", "thumbnail/**"], "what is private, its service decides"

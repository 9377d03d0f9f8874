"""CUSTOM_ROUTES: names and addresses of an operator's own services."""

import pytest
from pydantic import ValidationError

from gateway.routes import API_ROUTES, RoutingTable, custom_routes
from gateway.settings import Settings


def given(custom: str) -> Settings:
    urls = dict.fromkeys(("auth", "items", "files", "schema", "settings"), "http://127.0.0.1:1")
    return Settings.model_validate(
        {
            "redis_url": "redis://127.0.0.1",
            "identity_private_key": "x",
            "custom_routes": custom,
            **{f"{name}_urls": url for name, url in urls.items()},
        }
    )


def test_a_name_again_is_a_replica() -> None:
    custom = given("hello=http://a:1, hello=http://b:2,by-by=unix:/run/x.sock").custom_routes
    assert custom == {"hello": ("http://a:1", "http://b:2"), "by-by": ("unix:/run/x.sock",)}
    assert given("").custom_routes == {}


@pytest.mark.parametrize("custom", ["hello", "=http://a:1", "He/llo=http://a:1", "hello="])
def test_what_is_no_route_is_named_at_start(custom: str) -> None:
    with pytest.raises(ValidationError, match="is no custom route"):
        given(custom)


def test_both_versions_lead_there_and_other_names_nowhere() -> None:
    table = RoutingTable((*API_ROUTES, *custom_routes(["hello"])))
    for path in ("/api/1/custom/hello", "/api/1.1/custom/hello/a/b"):
        route = table.match(path).route("GET")
        assert route is not None
        assert route.service == "custom:hello"
    assert table.match("/api/1.1/custom/other/a").routes == ()
    assert table.match("/api/1.1/custom").routes == ()

"""Users and groups for the tests, made over the API."""

from collections.abc import Mapping

from wire import Api


async def make_group(api: Api, name: str, rights: Mapping[str, Mapping[str, object]]) -> int:
    """A group with these privileges: table → levels."""
    group = (await api.post("groups", {"name": name})).data["id"]
    for table, levels in rights.items():
        await api.post(f"privileges/{group}", {"table_name": table, "group_id": group, **levels})
    return group


async def make_user(api: Api, name: str, group: int, **more: object) -> tuple[Api, int]:
    """A user by name, as a caller of his own, and his id."""
    token = f"token-of-{name}-0123456789"
    body = {"email": f"{name}@example.com", "token": token, "group": group, **more}
    reply = await api.post("users", body)
    return api.as_(token), reply.data["id"]

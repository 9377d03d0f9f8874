"""Everything settings-service serves, as one table."""

from settings_service.handlers import bookmarks, cache, messages, preferences, settings
from shared.row_routes import row_routes
from shared.service import Route, any_update, delete, get, patch, post, put


def _messages(path: str) -> list[Route]:
    """Messages live below ``messages/rows``; some clients leave the ``rows`` out (reading 32)."""
    return [
        get(path, messages.list_messages),
        post(path, messages.send_message),
        delete(f"{path}/bulk", messages.archive_many),
        get(f"{path}/{{id}}", messages.get_message),
        put(f"{path}/{{id}}", messages.reply),
        post(f"{path}/{{id}}", messages.reply),
        patch(f"{path}/{{id}}", messages.mark),
        delete(f"{path}/{{id}}", messages.archive),
    ]


ROUTES = [
    get("settings", settings.list_settings),
    get("settings/{collection}", settings.get_settings),
    *any_update("settings/{collection}", settings.update_settings),
    get("tables/{table}/preferences", preferences.get_preferences),
    *any_update("tables/{table}/preferences", preferences.save_preferences),
    delete("tables/{table}/preferences", preferences.delete_preferences),
    get("preferences/{table}", preferences.list_titled),
    *any_update("preferences/{table}", preferences.save_preferences),
    delete("preferences/{table}", preferences.delete_preferences),
    get("bookmarks", bookmarks.list_bookmarks),
    post("bookmarks", bookmarks.create_bookmark),
    get("bookmarks/self", bookmarks.list_own),
    get("bookmarks/user/{user}", bookmarks.list_of_user),
    get("bookmarks/{id}", bookmarks.get_bookmark),
    *any_update("bookmarks/{id}", bookmarks.update_bookmark),
    delete("bookmarks/{id}", bookmarks.delete_bookmark),
    get("messages/self", messages.list_messages),
    get("messages/user/{user}", messages.list_messages),
    get("messages/recipients", messages.find_recipients),
    *_messages("messages/rows"),
    *_messages("messages"),
    post("comments", messages.comment),
    post("utils/cache/clear", cache.clear),
    *row_routes(
        "directus_settings",
        "directus_preferences",
        "directus_bookmarks",
        "directus_messages",
        "directus_messages_recipients",
    ),
]

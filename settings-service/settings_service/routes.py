"""Everything settings-service serves, as one table."""

from settings_service.handlers import bookmarks, cache, preferences, settings
from shared.row_routes import row_routes
from shared.service import any_update, delete, get, post

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
    post("utils/cache/clear", cache.clear),
    *row_routes(
        "directus_settings",
        "directus_preferences",
        "directus_bookmarks",
        "directus_messages",
        "directus_messages_recipients",
    ),
]

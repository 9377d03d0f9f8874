"""Everything settings-service serves, as one table."""

from settings_service.handlers import settings
from shared.row_routes import row_routes
from shared.service import any_update, get

ROUTES = [
    get("settings", settings.list_settings),
    get("settings/{collection}", settings.get_settings),
    *any_update("settings/{collection}", settings.update_settings),
    *row_routes(
        "directus_settings",
        "directus_preferences",
        "directus_bookmarks",
        "directus_messages",
        "directus_messages_recipients",
    ),
]

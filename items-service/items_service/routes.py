"""Everything items-service serves, as one table."""

from items_service.handlers import activity, utilities
from shared.row_routes import row_routes
from shared.service import Route, get, post

ROUTES = [
    *row_routes(),
    get("activity", activity.list_activity),
    get("activity/stream", activity.stream),
    Route("GET", "/asyncapi.json", activity.describe, versioned=False, public=True),
    post("utils/import/{table}", utilities.import_rows),
    post("utils/sort/{table}", utilities.sort),
]

"""Everything items-service serves, as one table."""

from items_service.handlers import activity
from shared.row_routes import row_routes
from shared.service import get

ROUTES = [
    *row_routes(),
    get("activity", activity.list_activity),
    get("activity/stream", activity.stream),
]

"""Everything items-service serves, as one table."""

from shared.row_routes import row_routes

ROUTES = row_routes()

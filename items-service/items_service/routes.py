"""Everything items-service serves, as one table."""

from items_service.handlers import activity, jobs, utilities
from shared.row_routes import row_routes
from shared.service import Route, get, post

ROUTES = [
    *row_routes(),
    get("activity", activity.list_activity),
    get("activity/stream", activity.stream),
    Route("GET", "/asyncapi.json", activity.describe, versioned=False, public=True),
    Route("POST", "utils/import/{table}", utilities.import_rows, leased=True),
    Route("POST", "utils/export/{table}", utilities.export_rows, leased=True),
    get("utils/jobs", jobs.list_jobs),
    get("utils/jobs/{id}", jobs.get_job),
    Route("DELETE", "utils/jobs/{id}", jobs.cancel_job, leased=True),
    get("utils/jobs/{id}/rejects", jobs.rejects),
    post("utils/sort/{table}", utilities.sort),
]

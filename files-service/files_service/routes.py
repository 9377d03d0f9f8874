"""Everything files-service serves, as one table."""

from files_service.handlers import downloads, files
from shared.row_routes import row_routes
from shared.service import Route, any_update, delete, get, post

ROUTES = [
    get("files", files.list_files),
    post("files", files.create_file),
    get("files/{id}", files.get_file),
    *any_update("files/{id}", files.update_file),
    delete("files/{id}", files.delete_file),
    Route("GET", "/storage/uploads/{name}", downloads.download, versioned=False, public=True),
    Route("HEAD", "/storage/uploads/{name}", downloads.download, versioned=False, public=True),
    *row_routes("directus_files"),
]

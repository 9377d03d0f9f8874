"""Everything files-service serves, as one table."""

from files_service.handlers import downloads, files, tus
from shared.row_routes import row_routes
from shared.service import UPDATES, Route, delete, get

ROUTES = [
    # before {id}, or "tus" would be a key
    Route("OPTIONS", "files/tus", tus.options, public=True),
    Route("POST", "files/tus", tus.create, leased=True),
    Route("HEAD", "files/tus/{upload}", tus.look),
    Route("PATCH", "files/tus/{upload}", tus.append, leased=True),
    Route("DELETE", "files/tus/{upload}", tus.terminate, leased=True),
    get("files", files.list_files),
    Route("POST", "files", files.create_file, leased=True),
    get("files/{id}", files.get_file),
    get("files/{id}/link", downloads.sign),
    *(Route(method, "files/{id}", files.update_file, leased=True) for method in UPDATES),
    delete("files/{id}", files.delete_file),
    Route("POST", "upload", files.upload, leased=True),
    Route("POST", "upload/link", files.upload_link, pure=True),
    *(
        Route(method, path, handler, versioned=False, public=True)
        for method in ("GET", "HEAD")
        for path, handler in (
            ("/storage/uploads/{name}", downloads.download),
            ("/storage/uploads/thumbs/{name}", downloads.thumbnail),
            ("/thumbnail/{width}/{height}/{rest:.+}", downloads.sized_thumbnail),
        )
    ),
    *row_routes("directus_files"),
    # for the rows of another service that bring a file
    Route("POST", "/internal/files", files.prepare_file, versioned=False),
    Route("DELETE", "/internal/files/{key}", files.give_back, versioned=False),
]

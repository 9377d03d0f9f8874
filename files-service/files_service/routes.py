"""Everything files-service serves, as one table."""

from files_service.handlers import downloads, files, tus
from shared.row_routes import row_routes
from shared.service import Route, any_update, delete, get, patch, post

ROUTES = [
    # before {id}, or "tus" would be a key
    Route("OPTIONS", "files/tus", tus.options, public=True),
    post("files/tus", tus.create),
    Route("HEAD", "files/tus/{upload}", tus.look),
    patch("files/tus/{upload}", tus.append),
    delete("files/tus/{upload}", tus.terminate),
    get("files", files.list_files),
    post("files", files.create_file),
    get("files/{id}", files.get_file),
    get("files/{id}/link", downloads.sign),
    *any_update("files/{id}", files.update_file),
    delete("files/{id}", files.delete_file),
    post("upload", files.upload),
    post("upload/link", files.upload_link),
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
]

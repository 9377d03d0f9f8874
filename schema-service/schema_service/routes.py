"""Everything schema-service serves, as one table."""

from schema_service.handlers import columns, privileges, tables
from shared.row_routes import row_routes
from shared.service import any_update, delete, get, patch, post

ROUTES = [
    get("tables", tables.list_tables),
    post("tables", tables.create_table),
    get("tables/{table}", tables.get_table),
    *any_update("tables/{table}", tables.update_table),
    delete("tables/{table}", tables.drop_table),
    get("tables/{table}/columns", columns.list_columns),
    post("tables/{table}/columns", columns.create_column),
    patch("tables/{table}/columns/bulk", columns.update_columns),
    get("tables/{table}/columns/{column}", columns.get_column),
    *any_update("tables/{table}/columns/{column}", columns.update_column),
    delete("tables/{table}/columns/{column}", columns.drop_column),
    get("tables/{table}/columns/{column}/{ui}", columns.get_options),
    *any_update("tables/{table}/columns/{column}/{ui}", columns.save_options),
    get("privileges/{group}", privileges.list_privileges),
    post("privileges/{group}", privileges.create_privilege),
    get("privileges/{group}/{which}", privileges.get_privilege),
    *any_update("privileges/{group}/{which}", privileges.update_privilege),
    *row_routes("directus_tables", "directus_columns", "directus_privileges"),
]

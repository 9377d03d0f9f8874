"""What each published client does with files, on whatever store, and what then holds."""

from collections.abc import Mapping

from seen import Cases

DOT = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwAD"
    "hgGAWjR9awAAAABJRU5ErkJggg=="
)

EVERY_NPM_FILES: Cases = {
    "createFile": (
        "uploads a file",
        lambda s: (s.item["type"], s.item["width"]) == ("image/png", 1),
    ),
    "getFiles": ("lists the files", lambda s: "image/png" in {row["type"] for row in s.rows}),
    "getFile": ("gets a file", lambda s: s.item["url"].startswith("/storage/uploads/")),
    "updateFile": ("changes a file", lambda s: s.item["title"] == "Picture"),
}
FIRST_FILES: Cases = {
    **EVERY_NPM_FILES,
    "getFile: after updateFile": ("gets the changed file", lambda s: s.item["title"] == "Picture"),
}
LAST_FILES: Cases = {
    **EVERY_NPM_FILES,
    "deleteFile": ("deletes a file", lambda s: s.value["success"] is True),
    "getFile: after deleteFile": ("gets nothing where a file was", lambda s: s.item == []),
}
PYTHON_FILES: Cases = {
    "create_file": ("uploads a file", lambda s: s.sent["title"] == "Dot"),
    "get_files": ("lists the files", lambda s: "image/png" in {file["type"] for file in s.model}),
    "get_file": ("gets a file, its numbers numbers", lambda s: s.model["width"] == 1),
    "update_file": ("changes a file", lambda s: s.sent["tags"] == "a,b"),
}

FILE_RUNS: Mapping[tuple[str, str], Cases] = {
    ("npm 1.1.3", "1"): FIRST_FILES,
    ("npm 1.1.3", "1.1"): FIRST_FILES,
    ("npm 2.5.1", "1"): EVERY_NPM_FILES,
    ("npm 2.5.1", "1.1"): EVERY_NPM_FILES,
    ("npm 2.15.0", "1"): LAST_FILES,
    ("npm 2.15.0", "1.1"): LAST_FILES,
    ("PyPI 1.1.1", "1.1"): PYTHON_FILES,
}

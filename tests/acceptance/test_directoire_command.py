"""``directoire`` against the running cluster, as a shell has it."""

import asyncio
import json
import sys
from pathlib import Path

import pytest
from wire import Api

pytestmark = pytest.mark.xdist_group("acceptance")


async def directoire(api: Api, *words: str, token: str | None = None) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "directoire_cli", *words,
        "--url", api.base_url, "--token", token or api.token or "",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def test_a_file_goes_in_and_comes_out(api: Api, unique: str, tmp_path: Path) -> None:
    table = await api.make_table(f"shell_{unique}", title="VARCHAR", number="INT")
    rows = tmp_path / "rows.csv"
    rows.write_text("title,number\n" + "".join(f"row {n},{n}\n" for n in range(500)))
    status, out, err = await directoire(api, "import", table, str(rows))
    assert (status, out) == (0, "Imported rows.csv.\n"), err
    assert "rows.csv" in err
    back = tmp_path / "back.json"
    words = ("export", table, "--format", "json", "-o", str(back), "--json")
    status, out, err = await directoire(api, *words, "--filter", '{"number": {"_lt": 3}}')
    assert status == 0, err
    assert json.loads(out)["rows"] == 3
    assert [row["title"] for row in json.loads(back.read_text())] == ["row 0", "row 1", "row 2"]
    rows.write_text("title,number\nx,1\ny,z\n")
    status, out, err = await directoire(api, "import", table, str(rows), "--background")
    assert (status, out) == (1, "")
    assert 'Row 2: The column "number"' in err


async def test_failures_say_what_to_do(api: Api) -> None:
    status, _, err = await directoire(api, "tables", token="no-such-token")
    assert status == 1
    assert "DIRECTOIRE_TOKEN" in err
    status, _, err = await directoire(api.at("http://127.0.0.1:1"), "random")
    assert status == 1
    assert "make up" in err

"""Ports are claimed across processes, and free again when their holder has ended."""

import socket
import subprocess
import sys

from shared.ports import claim, claimed_port, is_free

CLAIMS = "from shared.ports import claimed_port; print(claimed_port(), flush=True); input()"


def test_a_port_claimed_by_another_process_is_not_given_until_that_process_ends() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CLAIMS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        port = int(holder.stdout.readline())
        assert is_free("127.0.0.1", port)
        assert not claim(port)
        holder.kill()
    assert claim(port)


def test_a_port_with_a_twin_claims_both() -> None:
    port = claimed_port(twin=10_000)
    assert is_free("127.0.0.1", port)
    assert port + 10_000 not in {claimed_port() for _ in range(100)}


def test_a_port_somebody_listens_on_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        assert not is_free("127.0.0.1", listening.getsockname()[1])

"""PgBouncer (Debian's package) in front of the tests' server, in either of its modes."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg.conninfo import conninfo_to_dict

# In transaction mode few sessions serve many clients; in session mode each client needs one: PgBouncer's default.
POOL_SIZE = {"transaction": 3, "session": 20}
_CONFIGURATION = """\
[databases]
* = host={host} port={port} user={user} {password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen_port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = {pool_size}
"""


@contextmanager
def pgbouncer(server_url: str, mode: str) -> Iterator[Callable[[str], str]]:
    """Run PgBouncer with its defaults; what is given back turns the name of a database into its URL through it."""
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    assert program is not None, "install pgbouncer (apt-get install pgbouncer): the product promises to work through it"
    server = conninfo_to_dict(server_url)
    folder = Path(tempfile.mkdtemp(prefix="nexus-pooler-", dir="/tmp"))
    # The account may be unable to reach the socket's folder by its path, but it can be started in it.
    local = str(server["host"]).startswith("/")
    host, cwd = ("/proc/self/cwd", server["host"]) if local else (server["host"], "/")
    listen_port = _free_port()
    password = f"password={server['password']}" if server.get("password") else ""
    (folder / "pgbouncer.ini").write_text(_CONFIGURATION.format(
        host=host, port=server.get("port") or 5432, user=server["user"], password=password,
        listen_port=listen_port, mode=mode, pool_size=POOL_SIZE[mode],
    ))  # fmt: skip
    account = _account(str(server["host"]))
    shutil.chown(folder, account.pw_uid, account.pw_gid)
    user = account.pw_name if os.geteuid() == 0 else None
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, str(folder / "pgbouncer.ini")],
            user=user,
            cwd=cwd,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
        )
    url = f"postgresql://{server['user']}@127.0.0.1:{listen_port}/"
    try:
        _wait_for(url + str(server["dbname"]), process, folder / "log")
        yield lambda database: url + quote(database, safe="")
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)


def _account(host: str) -> pwd.struct_passwd:
    """Who may connect: the owner of the server's socket; PgBouncer does not run as root."""
    if host.startswith("/"):
        return pwd.getpwuid(next(Path(host).glob(".s.PGSQL.*")).stat().st_uid)
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            psycopg.connect(url, connect_timeout=5).close()
            return
        except psycopg.OperationalError:
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()  # noqa: PT018
            time.sleep(0.05)

"""Starts what is measured: a target of its own, PgBouncer, and PgLens with its planes as processes."""

import base64
import datetime
import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from cost import Process, Server

ROOT = Path(__file__).resolve().parent.parent
# 2,000 idle sessions, those of the control plane's test of the database, and some of the system's own.
MAX_CONNECTIONS = 2200
USER = DATABASE = "bench"
# The users whose grants are not like that of `USER`: one with quotas that no run gets near, one under `strict`.
QUOTA_USER, STRICT_USER = "bench_quota", "bench_strict"
GRANTS = {USER: {}, QUOTA_USER: {"max_queries": 10**12, "max_bytes": 10**15}, STRICT_USER: {"audit_level": "strict"}}


def find(program):
    found = shutil.which(program)
    if found:
        return found
    for folder in ("/usr/sbin", *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)):
        if (Path(folder) / program).exists():
            return str(Path(folder) / program)
    sys.exit(f"bench: {program} is not installed; `make bench` installs it")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def program():
    binary = Path(os.environ.get("PGLENS_BIN", ROOT / "target/release/pglens"))
    if not binary.exists():
        sys.exit(f"bench: {binary} is not there; build it with: cargo build --release --locked -p pglens")
    return binary


def start_pglens(folder, started):
    """`pglens dev` with its planes as processes; appends the process to `started`, and returns what it says of itself."""
    binary = program()
    ready, log_path = folder / "ready.json", folder / "pglens.log"
    log = open(log_path, "wb")
    environment = dict(os.environ, PGL_LOG="warn", PGL_MAX_SESSIONS=str(MAX_CONNECTIONS))
    process = subprocess.Popen(
        [binary, "dev", "--processes", "--data-dir", folder / "dev", "--ready-file", ready,
         "--listen-addr", "127.0.0.1:0", "--api-addr", "127.0.0.1:0"],
        stdout=log, stderr=log, env=environment, start_new_session=True,
    )
    started.append(process)
    deadline = time.monotonic() + 60
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit("bench: pglens dev did not get ready:\n" + log_path.read_text())
        time.sleep(0.1)
    return json.loads(ready.read_text())


def stop(started):
    """Ends processes, the last one first."""
    for process in reversed(started):
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()


class Way:
    """One way to reach the target, and the programs whose cost it is."""

    def __init__(self, name, host, port, user, password, programs):
        self.name, self.programs = name, programs
        self.host, self.port, self.user, self.password, self.database = host, int(port), user, password, DATABASE
        self.arguments = ["-h", host, "-p", str(port), "-U", user, DATABASE]
        self.environment = dict(os.environ, PGPASSWORD=password, PGSSLMODE="disable")


class Stack:
    """Everything that was started. Use it as a context manager."""

    def __init__(self, folder, scale):
        self.folder, self.scale, self.started, self.ways = folder, scale, [], []
        self.password = secrets.token_hex(12)
        # PostgreSQL and PgBouncer refuse to run as root.
        self.unprivileged = None
        if os.geteuid() == 0:
            known = {entry.pw_name for entry in pwd.getpwall()}
            self.unprivileged = "postgres" if "postgres" in known else "nobody"

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error):
        stop(self.started)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self):
        self._make_certificate()
        target, target_port = self._start_target()
        direct = Way("direct", "127.0.0.1", target_port, USER, self.password, {"target": target})
        self._fill(direct)
        pgbouncer, pgbouncer_port = self._start_pgbouncer(target_port)
        ready = self._start_pglens()
        pids = ready["pids"]
        self._grant(ready, target_port)
        host, port = ready["proxy"].rsplit(":", 1)
        programs = {"data-plane": Process(pids["data_plane"]), "control-plane": Process(pids["control_plane"]),
                    "storage": Server(pids["postgres"]), "target": target}
        self.pglens = Way("pglens", host, port, USER, self.password, programs)
        # Not ways that `bench/run.py` compares: `bench/quota.py` and `bench/strict.py` do that.
        self.with_quota = Way("pglens, quotas", host, port, QUOTA_USER, self.password, programs)
        self.strict = Way("pglens, strict", host, port, STRICT_USER, self.password, programs)
        self.ways = [
            direct,
            Way("pgbouncer", "127.0.0.1", pgbouncer_port, USER, self.password,
                {"pgbouncer": pgbouncer, "target": target}),
            self.pglens,
        ]

    def _as_user(self, command):
        if self.unprivileged is None:
            return command
        return ["setpriv", "--reuid", self.unprivileged, "--clear-groups", "--", *command]

    def _own(self, path):
        if self.unprivileged is not None:
            shutil.chown(path, self.unprivileged)

    def _make_certificate(self):
        """One for the target and PgBouncer; the proxy has one of its own. Clients take TLS where a workload says so."""
        made = self.folder / "certificates"
        subprocess.run([program(), "certificates", "--out", str(made)], check=True, capture_output=True)
        self.certificate, self.key = made / "control-plane.pem", made / "control-plane-key.pem"
        made.chmod(0o755)
        self._own(self.certificate), self._own(self.key)

    def _start_target(self):
        data, secret, port = self.folder / "target", self.folder / "password", free_port()
        data.mkdir(mode=0o700)
        secret.write_text(self.password)
        self._own(data), self._own(secret)
        subprocess.run(self._as_user([find("initdb"), "-D", str(data), "-U", USER, "-A", "scram-sha-256",
                                      "--pwfile", str(secret), "-E", "UTF8", "--locale", "C"]),
                       check=True, capture_output=True, cwd="/")
        settings = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "",
                    "max_connections": MAX_CONNECTIONS + 100, "shared_buffers": "256MB", "max_wal_size": "4GB",
                    "logging_collector": "off", "log_min_messages": "fatal",
                    "ssl": "on", "ssl_cert_file": self.certificate, "ssl_key_file": self.key}
        command = [find("postgres"), "-D", str(data)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        log = open(self.folder / "target.log", "wb")
        process = subprocess.Popen(self._as_user(command), stdout=log, stderr=log, cwd="/", start_new_session=True)
        self.started.append(process)
        self._wait("the target", process, port, self.folder / "target.log")
        return Server(process.pid), port

    def _wait(self, what, process, port, log):
        deadline = time.monotonic() + 60
        environment = dict(os.environ, PGPASSWORD=self.password, PGCONNECT_TIMEOUT="2", PGSSLMODE="disable")
        command = [find("psql"), "-h", "127.0.0.1", "-p", str(port), "-U", USER, "-d", "postgres", "-Atc", "SELECT 1"]
        while subprocess.run(command, env=environment, capture_output=True).returncode != 0:
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"bench: {what} did not start:\n{Path(log).read_text()}")
            time.sleep(0.1)

    def _fill(self, direct):
        """The tables of pgbench, and those of the bulk workloads."""
        base = [*direct.arguments[:-1]]
        subprocess.run([find("psql"), *base, "-d", "postgres", "-qc", f"CREATE DATABASE {DATABASE}"],
                       env=direct.environment, check=True)
        subprocess.run([find("pgbench"), "-i", "-q", "-s", str(self.scale), *direct.arguments],
                       env=direct.environment, check=True, capture_output=True)
        sql = ("CREATE TABLE narrow AS SELECT i AS id, md5(i::text)::char(12) AS word FROM generate_series(1, 2000000) i;"
               "CREATE UNLOGGED TABLE taken (id int, word text);"
               "CREATE UNLOGGED TABLE wide AS SELECT repeat('0123456789abcdef', 65536) AS value;"
               "ALTER TABLE wide ALTER value SET STORAGE EXTERNAL;"
               "VACUUM ANALYZE;")
        subprocess.run([find("psql"), *direct.arguments, "-q"], input=sql, text=True, env=direct.environment, check=True)

    def _start_pgbouncer(self, target_port):
        """Session pooling with SCRAM towards clients and the target, logging off: PgBouncer at its best."""
        port = free_port()
        users, settings = self.folder / "users.txt", self.folder / "pgbouncer.ini"
        users.write_text(f'"{USER}" "{self.password}"\n')
        settings.write_text(
            f"[databases]\n* = host=127.0.0.1 port={target_port}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = scram-sha-256\nauth_file = {users}\n"
            f"client_tls_sslmode = allow\nclient_tls_cert_file = {self.certificate}\nclient_tls_key_file = {self.key}\n"
            "server_tls_sslmode = disable\n"
            f"pool_mode = session\nmax_client_conn = {MAX_CONNECTIONS + 100}\ndefault_pool_size = {MAX_CONNECTIONS}\n"
            # Sessions of one workload are gone from the target before many of another come.
            "server_idle_timeout = 20\n"
            "log_connections = 0\nlog_disconnections = 0\nlogfile =\n"
            "ignore_startup_parameters = extra_float_digits\n"
        )
        self._own(users), self._own(settings)
        log = open(self.folder / "pgbouncer.log", "wb")
        process = subprocess.Popen(self._as_user([find("pgbouncer"), "-q", str(settings)]), stdout=log, stderr=log,
                                   start_new_session=True)
        self.started.append(process)
        self._wait("PgBouncer", process, port, self.folder / "pgbouncer.log")
        return Process(process.pid), port

    def start_floor(self):
        """Adds a way through a relay that looks at nothing."""
        floor = program().parent / "examples" / "floor"
        if not floor.exists():
            sys.exit("bench: run `cargo build --release -p pglens-data-plane --example floor` first")
        direct, port = self.ways[0], free_port()
        log = open(self.folder / "floor.log", "wb")
        process = subprocess.Popen([floor, str(port), str(direct.port)], stdout=log, stderr=log, start_new_session=True)
        self.started.append(process)
        self._wait("the floor", process, port, self.folder / "floor.log")
        programs = {"floor": Process(process.pid), "target": direct.programs["target"]}
        self.ways.append(Way("floor", "127.0.0.1", port, USER, self.password, programs))

    def _start_pglens(self):
        return start_pglens(self.folder, self.started)

    def _grant(self, ready, target_port):
        """The target, and users with a write grant each, made over REST."""
        credentials = base64.b64encode(f"{ready['admin_user']}:{ready['admin_password']}".encode()).decode()

        def post(path, body):
            request = urllib.request.Request(
                f"{ready['api']}/api/{path}", data=json.dumps(body).encode(), method="POST",
                headers={"Authorization": f"Basic {credentials}", "Content-Type": "application/json"})
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(request, timeout=20) as response:
                return json.loads(response.read())["id"]

        now = datetime.datetime.now(datetime.timezone.utc)
        database = post("databases", {
            "name": DATABASE, "host": "127.0.0.1", "port": target_port, "database_name": DATABASE,
            "username": USER, "password": self.password, "ssl_mode": "disable"})
        for name, terms in GRANTS.items():
            user = post("users", {"username": name, "password": self.password, "is_admin": False})
            post("grants", {"user_id": user, "database_id": database, "access_level": "write",
                            "starts_at": (now - datetime.timedelta(minutes=5)).isoformat(),
                            "expires_at": (now + datetime.timedelta(days=1)).isoformat(), **terms})

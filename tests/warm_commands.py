"""The `heapwright` of the documents' examples, forked from a process that has imported it.

    bash ─► bin/heapwright ARGUMENTS ─socket─► server ─fork─► cli.main()
             its folder, environment and first three files go along; its exit code comes back

A hundred examples each spent most of their processor time in importing what the one before had
imported. Here each is still a process of its own, of the same arguments, files and folder, started
by the shell by that name. What is settled while importing is not shared: under another HOME, a
preloaded library, or settings of heapwright, Numba or Python of its own, a command is the installed
one, as are all those that import no compiler. How that one starts is what `tests/cli/test_root.py`
and `tests/test_install.py` hold.
"""

import atexit
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from pathlib import Path

INSTALLED = Path(sys.executable).with_name("heapwright")
SETTLED = ("HEAPWRIGHT_", "NUMBA_", "PYTHON", "LD_", "HOME", "XDG_", "COLUMNS", "NO_COLOR")
LEAVE_SECONDS = 60  # that commands have to end, once nobody waits for them
CLIENT = """#!{python} -IS
import os, sys
def settled(environment):
    return {{k: v for k, v in environment.items() if k.startswith({prefixes!r})}}
if settled(os.environ) != {settled!r} or not set(sys.argv[1:2]) & {commands!r}:
    os.execv({installed!r}, [{installed!r}, *sys.argv[1:]])
import json, socket
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
told = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(server, [len(told).to_bytes(8, "little")], [0, 1, 2])
server.sendall(told)
code = server.recv(1)
sys.exit(code[0] if code else 70)
"""


@contextlib.contextmanager
def warm_commands(folder, environment):
    """A folder whose `heapwright` runs warm, for commands in this environment."""
    address, program = str(folder / "socket"), folder / "heapwright"
    command = [sys.executable, __file__, address]
    server = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        while not os.path.exists(address):
            assert server.poll() is None, "the server of warm commands ended"
            time.sleep(0.02)
        told = {
            "python": sys.executable,
            "prefixes": SETTLED,
            "settled": {k: v for k, v in environment.items() if k.startswith(SETTLED)},
            "commands": _compiling(),
            "installed": str(INSTALLED),
            "address": address,
        }
        program.write_text(CLIENT.format(**told))
        program.chmod(0o755)
        yield folder
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(LEAVE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
            raise AssertionError("a command did not end after the one who gave it") from None


def _compiling():
    """The commands that may import the compiler."""
    from heapwright.cli import COMMANDS, READING

    return set(COMMANDS) - set(READING) - {"fly", "build", "record", "cache"}


def serve(address):
    """Fork a command for each client, for ever."""
    from heapwright.cli import COMMANDS, command_function
    from heapwright.tunnel import compare

    for name in COMMANDS:
        command_function(name)
    compare.prepare()
    server = socket.socket(socket.AF_UNIX)
    server.bind(address + ".new")
    server.listen(16)
    os.rename(address + ".new", address)
    signal.signal(signal.SIGTERM, _end)
    while True:
        client, _ = server.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            server.close()
            _run(client)
        client.close()


def _end(_number, _frame):
    """Wait for what was forked, so that whoever started this is told its processor time too."""
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)
    os._exit(0)


def _run(client):
    """In a process of its own: the command of a client, whose exit code is written to it."""
    head, files, _, _ = socket.recv_fds(client, 8, 3)
    told = b""
    while len(told) < int.from_bytes(head, "little"):
        part = client.recv(1 << 20)
        if not part:
            os._exit(1)  # whoever asked is gone
        told += part
    arguments, folder, environment = json.loads(told)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["heapwright", *arguments]
    client.send(bytes([_exit_code() & 255]))
    os._exit(0)


def _exit_code():
    from heapwright.cli import main

    code = 1
    try:
        main()
        code = 0
    except SystemExit as asked:
        code = asked.code if isinstance(asked.code, int) else int(asked.code is not None)
    except BaseException:
        traceback.print_exc()
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    return code


if __name__ == "__main__":
    serve(sys.argv[1])

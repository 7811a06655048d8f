"""The process of one identity that tests ask to run commands, for `become_root` changes its caller.

It reads a JSON request per line, runs each in a thread of its own, and answers a JSON line per request.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path

from wcbuild.errors import SandboxError
from wcbuild.graph.ops import Network
from wcbuild.layer.windows.hive import Value
from wcbuild.sandbox.base import RootMount, RunSpec, SandboxMount, SuppliedFile
from wcbuild.sandbox.identity import become_root
from wcbuild.sandbox.launcher import Launcher, NamespaceSandbox


def serve() -> None:
    identity = become_root(want_userns="userns" in sys.argv)
    launcher = Launcher.start()
    sandbox = NamespaceSandbox(launcher, identity)
    lock = threading.Lock()
    cancels: dict[int, threading.Event] = {}

    def answer(number: int, **fields) -> None:
        with lock:
            print(json.dumps({"id": number, **fields}), flush=True)

    def root_of(request) -> RootMount:
        fields = request["root"]
        return RootMount(
            lower=tuple(map(Path, fields.get("lower", ()))),
            upper=Path(fields["upper"]) if "upper" in fields else None,
            work=Path(fields["work"]) if "work" in fields else None,
        )

    def spec_of(request) -> RunSpec:
        fields = dict(request["spec"])
        fields.pop("broken_output", None)
        for name in ("args", "env"):
            fields[name] = tuple(fields.get(name, ()))
        for name in ("hosts", "ulimits"):
            fields[name] = tuple(map(tuple, fields.get(name, ())))
        fields["network"] = Network(fields.get("network", "default"))
        fields["files"] = tuple(
            SuppliedFile(path, text.encode(), *rest)
            for path, text, *rest in fields.get("files", ())
        )
        fields["mounts"] = tuple(
            SandboxMount(
                **{**mount, "source": Path(mount["source"]) if mount.get("source") else None}
            )
            for mount in fields.get("mounts", ())
        )
        return RunSpec(**fields)

    def do(number: int, request) -> None:
        chunks = {1: [], 2: []}

        def collect(stream: int, data: bytes) -> None:
            chunks[stream].append(data)

        def broken(stream: int, data: bytes) -> None:
            raise ZeroDivisionError

        fields = {"code": -1, "signal": 0, "out_of_memory": False, "error": "", "hint": ""}
        try:
            if request["what"] == "attach":
                status = attach(request, chunks[1])
            elif request["what"] == "wine":
                status = run_wine(request, collect, fields, cancels[number])
            else:
                status = sandbox.run(
                    root_of(request),
                    spec_of(request),
                    broken if "broken_output" in request["spec"] else collect,
                    cancel=cancels[number],
                )
            fields |= {
                "code": status.code,
                "signal": status.signal,
                "out_of_memory": status.out_of_memory,
            }
        except SandboxError as error:
            fields |= {"error": str(error), "hint": error.hint}
        except Exception as error:  # noqa: BLE001 - the test shall see it
            fields |= {"error": repr(error)}
        out, err = (b"".join(chunks[stream]).decode(errors="replace") for stream in (1, 2))
        answer(number, out=out, err=err, **fields)

    def run_wine(request, collect, fields, cancel):
        # Here, for most tests want none of it.
        from wcbuild.sandbox.wine.install import find_wine
        from wcbuild.sandbox.wine.registry import Key
        from wcbuild.sandbox.wine.sandbox import Keeping, WineSandbox

        wine = WineSandbox(
            sandbox,
            find_wine(),
            Path(request["directory"]),
            overlay=request["overlay"],
            keeping=Keeping(folders=tuple(request["keep"])),
        )
        keys = tuple(
            Key(
                hive,
                path,
                tuple(Value(name, kind, bytes.fromhex(data)) for name, kind, data in values),
            )
            for hive, path, values in request["keys"]
        )
        outcome = wine.run_step(
            root_of(request), spec_of(request), collect, keys=keys, cancel=cancel
        )
        fields["lost"] = outcome.lost
        fields["streams"], fields["hidden"] = outcome.streams, outcome.hidden
        fields["lost_keys"] = outcome.registry.lost
        fields["keys"] = [
            (key.hive, key.path, [(name, kind, data.hex()) for name, kind, data in key.values])
            for key in outcome.registry.keys
        ]
        return outcome.status

    def attach(request, chunks):
        master, slave = os.openpty()
        reader = threading.Thread(target=drain, args=(master, chunks, request["typed"].encode()))
        reader.start()
        try:
            return sandbox.attach(root_of(request), spec_of(request), slave, slave, slave)
        finally:
            os.close(slave)
            reader.join()
            os.close(master)

    def drain(master, chunks, typed):
        try:
            while data := os.read(master, 4096):
                chunks.append(data)
                if typed and b"ready" in b"".join(chunks):
                    os.write(master, typed)
                    typed = b""
        except OSError:
            pass  # nobody has the terminal any more

    fields = {name: str(getattr(identity, name)) for name in ("kind", "reason", "hint")}
    print(json.dumps({**fields, "launcher": launcher._pid}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        number = request["id"]
        if request["what"] == "cancel":
            cancels[request["number"]].set()
        elif request["what"] == "eval":
            names = {"os": os, "launcher": launcher}
            answer(number, value=eval(request["code"], names))
        else:
            cancels[number] = threading.Event()
            threading.Thread(target=do, args=(number, request), daemon=True).start()
    launcher.close()


if __name__ == "__main__":
    serve()

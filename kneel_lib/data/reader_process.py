"""Strangers' bytes are parsed and decoded in a process of their own, which may take only so much memory and
time: no codec can be trusted to stop, and what a file costs at the most should be one line.

One reader serves a whole process, file after file: starting it costs half a second, asking it the copying of
the pixels. `read_apart` is called here, `main` runs over there. What comes back is json and plain pixels.
"""

import atexit
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

import numpy as np

from kneel_lib import paths
from kneel_lib.data.formats import read_here
from kneel_lib.data.gdcm_process import limit_memory
from kneel_lib.data.grey import Radiograph, reason, too_much_memory
from kneel_lib.errors import KneelError


@dataclass(frozen=True)
class Bounds:
    """What the bytes of one file may cost. memory: bytes of address space, the interpreter's own included."""

    seconds: int = 40
    memory: int = 3 * 2**29


BOUNDS = Bounds()
"""With the networks beside it, predicting stays below 2 GB and 60 s a file."""

COMMAND = "from kneel_lib.data.reader_process import main; main()"
READERS: dict[tuple[int, Bounds], subprocess.Popen] = {}
"""{(id of the process that started it, its bounds): reader}: a forked process has no part in its parent's."""

TURN = Lock()


def read_apart(
    path: Path | str, mm_per_px: float | None, spacing_needed: bool, bounds: Bounds = BOUNDS
) -> Radiograph:
    """`formats.read_here` in a process with `bounds`; raises `KneelError` as it does, and where the process
    did not live to the end of the file."""
    asked = {"path": os.fspath(path), "folder": os.getcwd(), "mm_per_px": mm_per_px, "needed": spacing_needed}
    with TURN:
        reader = running(bounds)
        try:
            said, grey, inside = ask(reader, asked)
        except (OSError, EOFError):
            raise KneelError(ended(path, dismissed(reader, bounds), bounds)) from None
        except BaseException:  # whoever is told to stop does not leave half an answer to the next file
            dismissed(reader, bounds)
            raise
        if said.pop("last"):
            dismissed(reader, bounds)
    if grey is None:
        raise KneelError(said["problem"])
    return Radiograph(Path(path), grey, inside=inside, **{**said, "notes": tuple(said["notes"])})


def running(bounds: Bounds) -> subprocess.Popen:
    """This process's reader with these bounds, started where there is none."""
    key = os.getpid(), bounds
    if key not in READERS or READERS[key].poll() is not None:
        found = [str(paths.ROOT), os.environ.get("PYTHONPATH")]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, found)),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        READERS[key] = subprocess.Popen(
            [sys.executable, "-P", "-c", COMMAND, json.dumps(asdict(bounds))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,  # Ctrl-C is for us: it ends when its input does
        )
    return READERS[key]


def ask(reader: Any, asked: dict[str, Any]) -> tuple[dict[str, Any], np.ndarray | None, np.ndarray | None]:
    """(what the reader says, grey, inside) of one file; `EOFError` or `OSError` where it ends before."""
    reader.stdin.write(json.dumps(asked).encode() + b"\n")
    reader.stdin.flush()
    line = reader.stdout.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    said = json.loads(line)
    if "problem" in said:
        return said, None, None
    shape, padded = said.pop("shape"), said.pop("padded")
    grey = received(reader.stdout, shape, np.float32)
    return said, grey, received(reader.stdout, shape, bool) if padded else None


def received(stream: BinaryIO, shape: list[int], kind: Any) -> np.ndarray:
    """An array as `main` writes it."""
    array = np.empty(shape, kind)
    if stream.readinto(array.reshape(-1).view(np.uint8)) != array.nbytes:  # type: ignore[attr-defined]
        raise EOFError
    return array


def dismissed(reader: subprocess.Popen, bounds: Bounds) -> int:
    """End a reader; returns its exit code, negative for a signal."""
    READERS.pop((os.getpid(), bounds), None)
    for stream in (reader.stdin, reader.stdout):
        with suppress(OSError):
            stream.close()  # type: ignore[union-attr]
    try:
        return reader.wait(1)
    except subprocess.TimeoutExpired:
        reader.kill()
        return reader.wait()


@atexit.register
def dismiss_all() -> None:
    """No reader outlives the process that asks it."""
    for (process, bounds), reader in list(READERS.items()):
        if process == os.getpid():
            dismissed(reader, bounds)


def ended(path: Path | str, code: int, bounds: Bounds) -> str:
    """What is said of a file that its reader did not outlive."""
    if code == -signal.SIGALRM:
        return f"{path} takes longer than {bounds.seconds} s to read: save it anew, uncompressed or as a PNG"
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return f"{path} crashes what reads it ({how}): it is damaged; save it anew, uncompressed or as a PNG"


def main() -> None:
    """Read the files that are asked for on the standard input, a line each; write what is found."""
    bounds = Bounds(**json.loads(sys.argv[1]))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever codecs print is no answer
    limit_memory(bounds.memory)
    for line in sys.stdin.buffer:
        signal.alarm(bounds.seconds)  # ends the process, wherever it is
        said, arrays = answer(json.loads(line))
        signal.alarm(0)
        # what is freed is not always given back, and a large picture is held until it is sent
        said["last"] = held_bytes() > bounds.memory // 4
        answers.write(json.dumps(said).encode() + b"\n")
        for array in arrays:
            answers.write(np.ascontiguousarray(array).data)
        answers.flush()
        if said["last"]:
            return
        del arrays


def answer(asked: dict[str, Any]) -> tuple[dict[str, Any], list[np.ndarray]]:
    """(what is said of a file, its arrays)."""
    path = asked["path"]
    try:
        os.chdir(asked["folder"])
        found = read_here(path, asked["mm_per_px"], spacing_needed=asked["needed"])
        grey = np.asarray(found.grey, np.float32)
    except KneelError as error:
        return {"problem": str(error)}, []
    except MemoryError:
        return {"problem": too_much_memory(path)}, []
    except Exception as error:  # of a stranger's file: it must not cost the next file this process
        return {"problem": f"{path} cannot be read ({reason(error)})"}, []
    names = ("mm_per_px", "side", "spacing_from", "notes", "turned")
    said = {name: getattr(found, name) for name in names}
    arrays = [grey] if found.inside is None else [grey, found.inside]
    return {**said, "shape": grey.shape, "padded": len(arrays) == 2}, arrays


def held_bytes() -> int:
    """How much memory this process holds; 0 where the system does not say it. (Its peak, by `getrusage`, may
    be that of the process that started it.)"""
    with suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0

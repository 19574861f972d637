"""Files that are made to fill the memory, to take for ever or to end what reads them cost one line each."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from dicom_writer import write_radiograph
from hostile_files import png, private_elements, with_elements, write_endless, write_hostile, zeros

from kneel_lib.data import reader_process
from kneel_lib.data.radiographs import read_radiograph
from kneel_lib.data.reader_process import BOUNDS, Bounds
from kneel_lib.errors import KneelError


@pytest.fixture
def plain(tmp_path):
    rows, columns = np.mgrid[:120, :100]
    return write_radiograph(tmp_path / "plain.dcm", 100 + 10 * columns + rows)


@pytest.fixture(autouse=True)
def new_reader():
    """Each test starts a reader of its own, and leaves none."""
    yield
    for key, reader in list(reader_process.READERS.items()):
        reader_process.dismissed(reader, key[1])


def the_reader():
    (reader,) = reader_process.READERS.values()
    return reader


def most_held(reader):
    """The most memory that a running process has held, in bytes."""
    lines = Path(f"/proc/{reader.pid}/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def waiting_bytes(pipe):
    """How many bytes in a pipe nobody has read yet."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


@pytest.mark.trains
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says how much memory a process has held")
def test_files_that_ask_for_gigabytes_are_refused_in_one_line_below_2_gb(plain, tmp_path):
    (tmp_path / "hostile").mkdir()
    harmless = {"elements.dcm", "items.dcm", "RLE.dcm", "strips.tif"}  # large, and no more
    for name, path in write_hostile(tmp_path / "hostile", plain).items():
        started = time.monotonic()
        try:
            assert read_radiograph(path, 0.2).grey.shape == (120, 100) and name in harmless
        except KneelError as error:
            assert str(path) in str(error) and "\n" not in str(error)
        assert time.monotonic() - started < 60, name
        assert all(most_held(reader) < BOUNDS.memory for reader in reader_process.READERS.values()), name
    assert read_radiograph(plain).grey.shape == (120, 100)


@pytest.mark.trains
def test_files_that_take_minutes_are_given_up(plain, tmp_path):
    (tmp_path / "endless").mkdir()
    for path in write_endless(tmp_path / "endless", plain):
        with pytest.raises(KneelError, match=f"{path.name} takes longer than 1 s to read"):
            read_radiograph(path, 0.2, bounds=Bounds(seconds=1))
    assert all(bounds.seconds > 1 for _, bounds in reader_process.READERS)


def test_a_file_beyond_the_memory_is_refused_and_the_next_is_read(plain, tmp_path):
    bounds = Bounds(memory=2**28)
    large = tmp_path / "large.png"
    large.write_bytes(png(7700, 7700, pixels=zeros(7701 * 7700)))
    with pytest.raises(KneelError, match="large.png asks for more memory than a radiograph"):
        read_radiograph(large, 0.2, bounds=bounds)
    assert read_radiograph(plain, bounds=bounds).grey.shape == (120, 100)


def test_one_process_reads_file_after_file_as_this_one_does(plain, tmp_path):
    read = read_radiograph(plain)
    first = the_reader().pid
    padded = write_radiograph(tmp_path / "b.dcm", np.tile(np.arange(90), (80, 1)), PixelPaddingValue=8)
    again = read_radiograph(padded, spacing_needed=False)
    assert the_reader().pid == first
    for apart, path in ((read, plain), (again, padded)):
        here = reader_process.read_here(path)
        assert np.array_equal(apart.grey, here.grey) and apart.grey.dtype == here.grey.dtype
        assert (apart.inside is None) == (here.inside is None)
        assert apart.inside is None or np.array_equal(apart.inside, here.inside)
        for name in ("path", "mm_per_px", "side", "spacing_from", "notes"):
            assert getattr(apart, name) == getattr(here, name)


def test_a_reader_that_crashes_costs_its_file_and_one_that_was_killed_before_none(plain):
    read_radiograph(plain)
    the_reader().kill()
    the_reader().wait()
    assert read_radiograph(plain).grey.shape == (120, 100)
    os.kill(the_reader().pid, signal.SIGSTOP)
    os.waitid(os.P_PID, the_reader().pid, os.WSTOPPED | os.WNOWAIT)
    os.kill(the_reader().pid, signal.SIGSEGV)  # comes as soon as it goes on
    with (
        ThreadPoolExecutor(1) as aside,
        pytest.raises(KneelError, match="plain.dcm crashes what reads it .SIGSEGV."),
    ):
        reading = aside.submit(read_radiograph, plain)
        while not waiting_bytes(the_reader().stdin):
            pass  # until the file is asked for
        os.kill(the_reader().pid, signal.SIGCONT)
        reading.result()


def test_files_of_any_name_are_read_from_any_folder(plain, tmp_path, monkeypatch):
    name = os.fsdecode(b"knee\xff\n.dcm")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / name).write_bytes(plain.read_bytes())
    read_radiograph(plain)
    monkeypatch.chdir(tmp_path / "b")
    assert read_radiograph(name).path == Path(name)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_reader_ends_with_the_process_that_asked_it(plain):
    code = (
        "import os, sys; from kneel_lib.data import radiographs, reader_process\n"
        "radiographs.read_radiograph(sys.argv[1])\n"
        "(reader,) = reader_process.READERS.values()\n"
        "print(reader.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    asker = subprocess.run([sys.executable, "-c", code, plain], capture_output=True, text=True)
    place, ends = Path(f"/proc/{asker.stdout.strip()}"), time.monotonic() + 20
    while place.exists() and "Z" not in (place / "stat").read_text().split(")")[1]:
        assert time.monotonic() < ends, "the reader goes on without anybody to answer to"
        os.sched_yield()
    assert asker.returncode == -signal.SIGKILL


def test_what_comes_back_of_a_strange_header_is_plain_data(tmp_path, plain):
    path = with_elements(plain, tmp_path / "a.dcm", private_elements(100))
    said, grey, inside = reader_process.ask(
        reader_process.running(BOUNDS),
        {"path": str(path), "folder": str(tmp_path), "mm_per_px": None, "needed": True},
    )
    assert json.loads(json.dumps(said)) == said and grey.dtype == np.float32 and inside is None

"""One JPEG or JPEG-LS stream through gdcm, in a process of its own: damaged streams crash gdcm, and what is
lost then should be one file and not the run.

`decoded` is called here, `main` runs over there: it reads the stream from its input and writes the pixels.
"""

import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

LIMIT_S, LIMIT_BYTES = 30, 5 * 2**28
"""Below those of the reader that asks for the pixels (`reader_process.Bounds`)."""


def decoded(stream: bytes, syntax: str, height: int, width: int, bits: int) -> tuple[bytes, list[str]]:
    """(the pixels of a grey stream, one byte each up to 8 bits, else two (little endian); what gdcm said).

    syntax: UID of its transfer syntax. Raises `ValueError` with gdcm's own words or how it ended.
    """
    command = [sys.executable, "-P", str(Path(__file__)), syntax, str(height), str(width), str(bits)]
    try:
        ended = subprocess.run(command, input=stream, capture_output=True, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        raise ValueError(f"gdcm: no answer in {LIMIT_S} s") from None
    words = [word.strip() for word in ended.stderr.decode(errors="replace").splitlines() if word.strip()]
    if ended.returncode or len(ended.stdout) != height * width * (1 if bits <= 8 else 2):
        raise ValueError(f"gdcm: {'; '.join(words) or f'ended with {ended.returncode}'}")
    return ended.stdout, words


def main(syntax: str, height: int, width: int, bits: int) -> None:
    """Decode the stream on the standard input to the standard output."""
    import gdcm

    fragment, fragments = gdcm.Fragment(), gdcm.SequenceOfFragments.New()
    fragment.SetByteStringValue(sys.stdin.buffer.read())
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((width, height, 1))
    image.SetDataElement(element)
    grey = gdcm.PhotometricInterpretation.GetPIType("MONOCHROME2")
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(grey))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax)))
    image.SetPixelFormat(gdcm.PixelFormat(1, 8 if bits <= 8 else 16, bits, bits - 1, 0))
    buffer = image.GetBuffer()
    if buffer is not None:
        sys.stdout.buffer.write(buffer.encode("utf-8", "surrogateescape"))


def limit_memory(count: int) -> None:
    """Give up rather than hold more bytes than these, where the system can be told so."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (count, count))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    signal.alarm(LIMIT_S)  # also where nobody waits any more
    limit_memory(LIMIT_BYTES)
    main(sys.argv[1], *(int(word) for word in sys.argv[2:]))

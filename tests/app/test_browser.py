"""`make app` in a real browser, from the file that is dropped to those that are saved."""

import io
import socket
import urllib.error
import urllib.request
import zipfile

import numpy as np
import pandas as pd
import pydicom
import pytest
from browsing import Visit, chromium, listens, started
from film import write_film

pytestmark = pytest.mark.trains(long=True)  # it trains nothing, but starts a server and a browser
TOKEN = "token"
DROP = """
([name, content]) => {
  const bytes = Uint8Array.from(atob(content), letter => letter.charCodeAt(0));
  const carried = new DataTransfer();
  carried.items.add(new File([bytes], name));
  const drop = new DragEvent("drop", {dataTransfer: carried, bubbles: true});
  document.querySelector(".kneel-drop").dispatchEvent(drop);
}
"""


@pytest.fixture(scope="module")
def address():
    """The address of a page that is served."""
    with started("app", f"--port={{port}} --token={TOKEN}", r"(http://\S+:\d+)/\?token") as (_, found):
        yield f"{found}/"


@pytest.fixture(scope="module")
def radiograph(tmp_path_factory):
    return write_film(tmp_path_factory.mktemp("film") / "both knees.dcm")


@pytest.fixture(scope="module")
def visit(address):
    with chromium() as browser, Visit(browser, address, f"?token={TOKEN}") as visited:
        visited.page.on(
            "websocket",
            lambda socket: socket.url.startswith("ws://127.0.0.1:") or visited.note("socket", socket.url),
        )
        visited.page.wait_for_selector(".kneel-drop", timeout=60_000)
        yield visited


def saved(page, what):
    """The bytes of a file that the page saves, and its name."""
    with page.expect_download(timeout=60_000) as download:
        page.click(f"button:has-text('{what}')")
    with open(download.value.path(), "rb") as file:
        return file.read(), download.value.suggested_filename


def landmarks_of(page):
    """(32, 2) of the csv that the page saves."""
    content, name = saved(page, "Landmarks (csv)")
    assert name == "both knees.dcm.landmarks.csv"
    table = pd.read_csv(io.BytesIO(content))
    return table[["x_px", "y_px"]].to_numpy(), table


def test_from_a_dropped_file_to_saved_ones(visit, radiograph):
    page, (path, truth, step) = visit.page, radiograph
    page.set_input_files(".kneel-drop input", path)
    page.wait_for_selector(".kneel-said:has-text('2 knees in')", timeout=60_000)
    page.wait_for_selector(".kneel-knee >> nth=1")
    assert page.locator(".kneel-point").count() == 32 and page.locator(".kneel-region").count() == 32
    found, _ = landmarks_of(page)
    errors = np.linalg.norm(found - np.concatenate([truth["R"], truth["L"]]), axis=1) * step
    assert errors.mean() < 2
    grip = page.locator(".kneel-knee").nth(0).locator(".kneel-grip").nth(2).bounding_box()
    x, y = grip["x"] + grip["width"] / 2, grip["y"] + grip["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 5, y - 20, steps=3)
    page.mouse.move(x, y - 40, steps=3)
    page.mouse.up()
    page.wait_for_selector("text=Moved by hand: 2")
    page.keyboard.press("ArrowDown")
    moved, table = landmarks_of(page)
    shift = moved - found
    assert abs(shift[2, 0]) < 1 and -60 < shift[2, 1] < -3 and not np.delete(shift, 2, axis=0).any()
    assert "moved by hand: landmark 2" in table["reason"][0]
    content, _ = saved(page, "VIA (zip)")
    assert "via.csv" in zipfile.ZipFile(io.BytesIO(content)).namelist()
    content, _ = saved(page, "Structured report")
    report = pydicom.dcmread(io.BytesIO(content))
    assert (
        report.CurrentRequestedProcedureEvidenceSequence[0]
        .ReferencedSeriesSequence[0]
        .ReferencedSOPSequence[0]
        .ReferencedSOPInstanceUID
        == pydicom.dcmread(path).SOPInstanceUID
    )
    assert page.locator(".kneel-saved a").count() == 4
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert not visit.faults


def test_an_unreadable_file_gets_a_sentence_whatever_it_is_called_and_however_large(visit, tmp_path):
    """It comes by a real drop; 12 MB are more than a message may have."""
    page = visit.page
    page.evaluate(DROP, ["..<b>notes.txt", "bm8gcmFkaW9ncmFwaA=="])
    page.wait_for_selector(".kneel-wrong:has-text('b_notes.txt is neither DICOM nor a picture')")
    assert page.locator(".kneel-knee:visible").count() == 0
    large = tmp_path / "large.dcm"
    large.write_bytes(bytes(12 * 2**20))
    page.set_input_files(".kneel-drop input", large)
    page.wait_for_selector(
        ".kneel-wrong:has-text('large.dcm is neither DICOM nor a picture')", timeout=60_000
    )
    assert "/tmp" not in page.inner_text(".kneel-wrong") and not visit.faults


def asked(address, host=None, path=""):
    """The status of an answer to somebody without the token, or under another name of this machine."""
    request = urllib.request.Request(address + path, headers={"Host": host} if host else {})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.url
    except urllib.error.HTTPError as error:
        return error.code, address


def test_nobody_else_gets_the_page(address):
    _, landed = asked(address)
    assert "login" in landed, "without the token the page asks for it"
    assert asked(address, "evil.example", f"?token={TOKEN}")[0] == 403
    for path in ("api/kernels", "api/contents", "files/page.ipynb", "voila/files/page.ipynb"):
        status, landed = asked(address, path=path)
        assert status >= 400 or "login" in landed, path
    port = int(address.rsplit(":", 1)[1].strip("/"))
    addresses = {found[4][0] for found in socket.getaddrinfo(socket.gethostname(), port, socket.AF_INET)}
    assert not any(listens(one, port) for one in addresses if not one.startswith("127."))

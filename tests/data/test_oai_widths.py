import numpy as np
import pytest

from kneel_lib.data.oai_widths import WIDTHS, read_widths
from kneel_lib.errors import KneelError
from kneel_lib.pipeline.measurements import NAMES

HEAD = "ID|SIDE|READPRJ|V00MCMJSW|V00JSW150|V00LJSW900|V00BMANG\n"
ROWS = (
    "9000099|1|15|4.5|4.75|5.5|1.0\n9000099|2|15|.A|.T: Technical problem|-9|2\n"
    "9000798|1|15|3.0|3.2|4|1\n9000798|1|42|3.4|3.2||1\n"
)


def written(tmp_path, text):
    path = tmp_path / "kxr_qjsw_duryea00.txt"
    path.write_text(text)
    return path


def test_every_width_of_the_oai_is_a_measurement_of_ours():
    assert set(WIDTHS.values()) <= set(NAMES) and len(WIDTHS) == 17


@pytest.mark.parametrize("between", ["|", ",", "\t"])
def test_widths_are_read_missing_ones_left_out_and_second_readings_averaged(between, tmp_path):
    table = read_widths(written(tmp_path, (HEAD + ROWS).replace("|", between)))
    assert table[["subject_id", "side"]].to_numpy().tolist() == [
        ["9000099", "L"],
        ["9000099", "R"],
        ["9000798", "R"],
    ]
    assert table["medial_jsw_min"].tolist()[1:] == pytest.approx([4.5, 3.2])
    assert table["lateral_jsw_0.900"].tolist()[1:] == [5.5, 4.0]
    assert np.isnan(table.iloc[0, 2:].to_numpy(float)).all()


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "cannot be read as a table"),
        ("ID|SIDE\n1|1\n", "has no widths of visit 00"),
        (HEAD.replace("SIDE", "KNEE") + ROWS, "has no column SIDE"),
        (HEAD + ROWS.replace("|2|15|", "|3|15|"), "line 3: side '3' is neither 1 nor 2"),
    ],
)
def test_a_table_that_is_another_is_refused_in_one_sentence(text, message, tmp_path):
    with pytest.raises(KneelError, match=message):
        read_widths(written(tmp_path, text))


def test_a_visit_that_is_not_in_the_table_and_a_missing_file_are_said(tmp_path):
    with pytest.raises(KneelError, match="no widths of visit 03"):
        read_widths(written(tmp_path, HEAD + ROWS), "03")
    with pytest.raises(KneelError, match="cannot be read as a table"):
        read_widths(tmp_path / "none.txt")

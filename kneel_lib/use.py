"""What each command does that uses what is there already, and needs none of the study: it starts quickly;
returns the exit code."""

import signal
import sys
import warnings
from argparse import Namespace
from pathlib import Path

from kneel_lib import paths
from kneel_lib.data import crops
from kneel_lib.errors import KneelError
from kneel_lib.outputs import OUTPUTS, write_outputs
from kneel_lib.pipeline.onnx_export import export
from kneel_lib.pipeline.predict import check_pretrained, predict_all
from kneel_lib.pipeline.pretrained import FOLDER, named_networks


def predict(options: Namespace) -> int:
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it
            signal.signal(number, lambda *_: sys.exit(f"stopped; answers so far are under {options.output}"))
    warnings.filterwarnings("ignore", ".* adjusting the input task iterator")  # joblib, when it is stopped
    weights = Path(options.weights) if options.weights else FOLDER
    path = only(options.path)
    asked = path, options.output, options.spacing, options.side, options.jobs, options.resume, weights
    failed = predict_all(*asked)
    troubles = write_outputs([name for name in OUTPUTS if getattr(options, name)], path, options.output)
    for trouble in troubles:
        print(f"error: {trouble}", flush=True)
    print(
        f"{len(failed)} files could not be used; landmarks.csv, measurements.csv, landmarks.json and the "
        f"overlays of what was found are under {options.output}"
    )
    return 1 if failed or troubles else 0


def only(paths: list[str]) -> str:
    """The one path that was given; `KneelError` for several, which a shell makes of *.png."""
    if len(paths) > 1:
        raise KneelError(
            f"{len(paths)} paths were given, {paths[0]} and {paths[1]} among them: give one file, or the "
            "folder that all of them lie in"
        )
    return paths[0]


def onnx(options: Namespace) -> int:
    for name, network in check_pretrained(named_networks(), "trained", FOLDER).items():
        print(export(network, Path(options.output) / f"{name}.onnx"))
    return 0


def verify(options: Namespace) -> int:
    folder = Path(options.data) if options.data else paths.downloads()
    if not folder.is_dir():
        raise KneelError(f"{folder} is no folder: data/README.md says where to get the files")
    problems = crops.verify(folder)
    for row in problems.itertuples():
        print(f"{row.problem}: {row.file}")
    if len(problems):
        raise KneelError(f"{len(problems)} files under {folder} are missing or different: see data/README.md")
    print("all files are there and as expected")
    return 0

"""What each command does that makes or shows the study; returns the exit code."""

import os
from argparse import Namespace
from collections import defaultdict
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from kneel_lib import notebook_runner, paths
from kneel_lib.data.cohort import Cohort
from kneel_lib.data.via import load_via, read_together
from kneel_lib.errors import KneelError, find
from kneel_lib.experiment import store
from kneel_lib.experiment.cohorts import load_cohort
from kneel_lib.experiment.engines import each_run
from kneel_lib.experiment.profiles import Profile, find_profile, profile_for
from kneel_lib.experiment.rows import SETTINGS, find_setting
from kneel_lib.experiment.runs import get_run
from kneel_lib.experiment.spec import PSEUDO_LABELLED, SIMULATED
from kneel_lib.experiment.store import WITH_NETWORK
from kneel_lib.experiment.students import student_of
from kneel_lib.experiment.workers import ENGINES
from kneel_lib.files import write_text
from kneel_lib.pipeline.corrected import moves, said_of, spacing_told
from kneel_lib.pipeline.fine_tuning import NAME, Schedule, fine_tune, write_weights
from kneel_lib.pipeline.input_files import find_files
from kneel_lib.pipeline.predict import ANSWERS, read_answers
from kneel_lib.pipeline.pretrained import FOLDER, KINDS, write_pretrained
from kneel_lib.pipeline.test_sets import evaluate
from kneel_lib.report import build_report
from kneel_lib.reporting.pipeline_tables import test_set_table
from kneel_lib.sweep import sweep as sweep_grid


def run(options: Namespace) -> int:
    find_profile(options.profile)
    find(options.engine or "sequential", ENGINES, "engine")
    given = notebook_parameters(options)
    at_once = options.at_once or notebook_runner.side_by_side(options.engine)
    engine = options.engine or ("sequential" if at_once > 1 else "")  # notebooks side by side use the cores
    os.environ.update({"KNEEL_ENGINE": engine, "KNEEL_JOBS": str(options.jobs or "")})
    output = paths.output(given["cohort"], given["profile"])
    return int(bool(notebook_runner.run_notebooks(given, output, options.notebook, at_once)))


OPTIONS_OF_THEIR_OWN = {"profile", "cohort"}


def notebook_parameters(options: Namespace) -> dict[str, Any]:
    """What a command gives to notebooks: its parameters, the profile, and the cohort that "auto" is here."""
    parsed = [notebook_runner.parse_parameter(text) for text in options.parameter]
    parameters = dict(parsed)
    if len(parameters) < len(parsed):
        raise KneelError("one of the parameters is given twice: give each once")
    for name in OPTIONS_OF_THEIR_OWN & parameters.keys():
        raise KneelError(f"parameter {name} has an option of its own: --{name}")
    chosen = notebook_runner.notebook_paths(options.notebook)
    notebook_runner.check_parameters(parameters, chosen)  # before a cohort is drawn
    profile, cohort = trained_on(options)
    return {**parameters, "profile": profile.name, "cohort": cohort.name}


def sweep(options: Namespace) -> int:
    given = notebook_parameters(options)
    at_once = options.at_once or notebook_runner.side_by_side(None)
    os.environ["KNEEL_ENGINE"] = "sequential"  # the notebooks use the cores
    grid = {"seed": options.seeds, **({"fold": options.folds} if options.folds else {})}
    for name in grid.keys() & given.keys():
        raise KneelError(f"parameter {name} is what the sweep varies: give its values with --{name}s")
    output = paths.output(given["cohort"], given["profile"], "sweep")
    return int(sweep_grid(options.notebook, grid, given, output, at_once) > 0)


def trained_on(options: Namespace) -> tuple[Profile, Cohort]:
    """The profile and the cohort that a command names."""
    profile = find_profile(options.profile)
    return profile, load_cohort(options.cohort, profile.simulated)


def train(options: Namespace) -> int:
    settings = [find_setting(name) for name in options.setting]
    profile, cohort = trained_on(options)
    sizes = defaultdict(list)
    for setting in settings:
        sizes[profile_for(setting, profile)].append(setting)
    given = options.folds, options.seeds, options.device, options.engine, options.jobs
    for size, rows in sizes.items():
        for finished in each_run(rows, size, cohort, *given):
            say(finished)
    return 0


def transfer(options: Namespace) -> int:
    settings, profile = [find_setting(name) for name in options.setting], find_profile(options.profile)
    source, target = (load_cohort(name, profile.simulated) for name in (options.source, options.target))
    for seed, setting in product(options.seeds, settings):
        size = profile_for(setting, profile)
        say(get_run(setting, size, target, seed=seed, source=source, device=options.device))
    return 0


def labels(options: Namespace) -> int:
    profile, real = trained_on(options)
    given: dict[str, Any] = {"device": options.device}
    for seed, start in product(options.seeds, options.starts):
        setting = SETTINGS[f"{options.recipe}_finetune" if start == "low_cost" else options.recipe]
        first = None
        if start in (SIMULATED, PSEUDO_LABELLED):
            drawn = load_cohort(SIMULATED, profile.simulated)
            first = get_run(setting, profile, real, seed=seed, source=drawn, weights=True, **given)
        for fold, count in product(options.folds, options.counts):
            asked = setting, profile, real, fold, seed, count or None
            begun = first
            if start == PSEUDO_LABELLED:
                teacher = get_run(*asked, first, weights=True, **given)
                begun = student_of(teacher, **given)
            say(get_run(*asked, begun, **given))
    return 0


def say(run: store.Run) -> None:
    """One line about a finished run."""
    errors = run.errors("image" if run.spec.setting.method in ("roi", "search") else "truth")
    tried = f", tried on {run.spec.target}" if run.spec.target else ""
    took = f"{run.manifest['train_seconds'] / 60:.1f} min"
    print(f"{run.spec.said}{tried}: MRE {np.nanmean(errors):.3f} mm, {took}, {run.folder}", flush=True)


def test(options: Namespace) -> int:
    profile = find_profile(options.profile)
    for dataset, method in product(options.dataset, options.methods):
        made = evaluate(dataset, method, profile, options.folds, options.seed, options.device)
        row = test_set_table([made]).iloc[0]
        print(
            f"{dataset}, {method}: MRE {row['mre_mm']:.3f} mm, {row['out']:.2f} % of {row['knees']} "
            f"knees out, {row['missed']} missed, {made.folder}",
            flush=True,
        )
    return 0


def pretrain(options: Namespace) -> int:
    setting = find_setting(options.setting)
    if setting.method not in WITH_NETWORK:
        raise KneelError(f"{setting.name} has no network: choose a row that is trained, such as best, or roi")
    profile, cohort = trained_on(options)
    given = cohort, options.folds, options.seeds, options.device
    kind = setting.method if setting.method in KINDS else "landmarks"
    folder = Path(options.output) if options.output else FOLDER
    for made in each_run([setting], profile_for(setting, profile), *given, weights=True):
        print(write_pretrained(made, kind, folder))
    return 0


def adapt(options: Namespace) -> int:
    output, answers = Path(options.output), read_answers(Path(options.answers) / ANSWERS)
    corrected = read_together(options.corrected)
    moved = moves(answers.values(), corrected)
    spacing = spacing_told([answers[name] for name, _ in corrected if name in answers], options.spacing)
    print(said_of(moved), flush=True)
    files = {name: file for name, (file, _) in find_files(options.path).items()}
    cohort = load_via(options.path, options.corrected, NAME, spacing, split="train", kl=0, files=files)
    made = fine_tune(
        cohort, Schedule(options.epochs), seed=options.seed, device=options.device, output=output
    )
    print(write_weights(made, output))
    write_text(output / "moves.csv", moved.to_csv(index=False, float_format="%.3f"))
    print(f"try it on knees that were not corrected: predict FOLDER --weights {output}")
    return 0


def record(options: Namespace) -> int:
    for name in options.profiles:
        find_profile(name)
    for name in options.settings or ():
        find_setting(name)
    for kept in store.record(options.profiles, options.settings):
        print(f"{kept.spec.said}: {kept.folder}")
    return report(options)


def report(options: Namespace) -> int:
    print(*build_report(), sep="\n")
    return 0


def notebooks(options: Namespace) -> int:
    notebook_runner.publish_notebooks(options.notebook)
    return 0

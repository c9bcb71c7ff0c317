"""Puts reports together, of one run or of several."""

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dino_rl import __version__
from dino_rl.envs.dino.deaths import count
from dino_rl.errors import DinoError, RunError
from dino_rl.program import command_line
from dino_rl.report import figures, page
from dino_rl.report.facts import RunFacts
from dino_rl.runs.output import check_writable, write_text
from dino_rl.runs.run_directory import REPORT, RunDirectory

MAX_ROWS = 40  # of a table of validations; of more, some are left out
MAX_YAML = 50_000  # characters
MAX_RUNS = 6  # colours of a comparison
# docs/results.md: as their authors report them.
_DUELING = page.Link(
    "dueling DQN, pixels", "https://github.com/yzheng51/rl-dino-run/blob/master/tests/duel_dqn.csv"
)
_DOUBLE = page.Link("double DQN, pixels", "https://github.com/SamYuen101234/chrome_dino_RL")
PUBLISHED: dict[str, list[tuple[page.Cell, ...]]] = {
    "ChromeDino-v0": [
        (_DUELING, "accelerating, birds", 30, 2383, 1500, 8943, "35.8 hours"),
        (_DOUBLE, "constant speed, no birds", 100, 23347, 11971, 132494, "on an RTX 3080"),
        ("people", "", None, 1122, None, None, ""),
    ]
}
COMPARED = ("agent", "game", "games", "mean", "median", "max", "training")


def default_path(runs: Sequence[Path]) -> Path:
    """report.html in the run's directory, or compare-NAMES.html beside the first of several runs."""
    if len(runs) == 1:
        return runs[0] / REPORT
    first = runs[0].resolve()
    return first.parent / f"compare-{'-'.join(run.resolve().name for run in runs)}.html"


def write_report(runs: Sequence[Path], path: Path | None = None) -> Path:
    """Write the report of a run, or a comparison of several, as one HTML file.

    Args:
        runs: their directories, at least one.
        path: of the file; None: the `default_path`.

    Returns:
        the file.

    Raises:
        RunError: a directory holds no run, or nothing to report yet; a file of it is damaged; or the report
            cannot be written.
        ModelError: the best model of a run is damaged.
    """
    path = path or default_path(runs)
    check_writable(path)
    if len(runs) > MAX_RUNS:
        raise RunError(f"A report compares at most {MAX_RUNS} runs: name fewer.")
    facts = [RunFacts(RunDirectory(run)) for run in runs]
    for each in facts:
        if not each.run.has_curves:
            raise RunError(f"{each.run.path} has no episodes to report yet: train it longer.")
    try:
        text = _one(facts[0]) if len(facts) == 1 else _several(facts)
    except DinoError:
        raise
    except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError) as error:
        names = ", ".join(map(str, runs))
        raise RunError(f"{names}: a file is damaged, or not of a run ({error!r:.120}).") from error
    write_text(path, text)
    return path


# --- One run ---------------------------------------------------------------------------------------------


def _one(facts: RunFacts) -> str:
    run = facts.run
    curves = figures.curves(run)
    sections = [
        page.tiles(_key_figures(facts)),
        page.section(
            "Learning curve",
            "Scores while the agent learns. Games of training explore now and then; greedy games always take "
            "the action that the network values most.",
            page.figures(curves[:2]),
        ),
        page.section(
            "Validations",
            "From time to time the agent plays games on seeds that it does not train on. The best validation "
            "decides which model the run keeps.",
            page.figures(_distribution(facts)),
            page.folded("All validations", _validations(run)) if run.table("validations") else "",
        ),
        _deaths(facts),
        _example(facts),
        _saliency(facts),
        _published(facts),
        page.section(
            "How learning went",
            "Numbers of the algorithm over the time of the run.",
            page.figures(curves[2:]),
        ),
        _repeat(facts),
    ]
    lead = f"{run.env}, {run.algorithm.upper()}, {_started(run)}"
    return page.page("Training run", run.name, lead, filter(None, sections), __version__, _today())


def _key_figures(facts: RunFacts) -> list[tuple[str, str]]:
    run = facts.run
    speed = run.table("intervals")["steps_per_s"]
    speed = speed[np.isfinite(speed)]
    return [
        (f"best mean {run.score_name} of a validation", page.number(run.best_validation)),
        ("minutes of training", f"{run.minutes:,.1f}"),
        ("environment steps", page.number(run.steps)),
        ("episodes", page.number(len(run.table("episodes")["score"]))),
        ("environment steps per second", page.number(float(speed.mean()) if len(speed) else None)),
    ]


def _distribution(facts: RunFacts) -> list[tuple[str, tuple[str, str]]]:
    name = facts.run.score_name
    if facts.best_games:
        scores, title = [game["score"] for game in facts.best_games], "Games of the best validation"
    else:  # a run of an older version, or without validations
        scores = facts.run.table("episodes")["score"][-200:].tolist()
        scores, title = [score for score in scores if np.isfinite(score)], "Last games of training"
    charts = [("Every validation game", figures.score_strip(facts.games, name))] if facts.games else []
    if scores:
        charts.append((title, figures.score_histogram(scores, title, name)))
    return charts


def _validations(run: RunDirectory) -> str:
    table = run.table("validations")
    names = ("minutes", "mean", "median", "min", "max", "capped", "games")
    rows = list(zip(*(table[name].tolist() for name in names), strict=True))
    best = int(np.nanargmax(table["mean"])) if np.isfinite(table["mean"]).any() else 0
    shown = sorted({best, *np.linspace(0, len(rows) - 1, min(len(rows), MAX_ROWS)).astype(int).tolist()})
    own = [shown.index(best)]
    return page.table((*names[:5], "stopped at the cap", "games"), [rows[i] for i in shown], own)


def _deaths(facts: RunFacts) -> str:
    if not facts.deaths:
        return ""
    rows = [(what, games) for what, games in count(facts.deaths)[:10]]
    return page.section(
        "How games ended",
        "The obstacle that ended each validation game of the run, and the speed of the game at that moment. "
        "The game starts at 6 pixels per frame and accelerates to 13.",
        page.figures(
            [("Crashes by speed and obstacle", figures.causes(facts.deaths))],
            page.table(("most frequent endings", "games"), rows),
        ),
    )


def _example(facts: RunFacts) -> str:
    shown = []
    if facts.video:
        shown.append(page.video(figures.data_uri("video/mp4", facts.video), "The newest video of this run."))
    if facts.clip:
        caption = "The last seconds of the best validation game, in the frames that the network saw."
        shown.append(page.video(figures.clip_video(facts.clip), caption, "frames"))
    games = f'<div class="game">{"".join(shown)}</div>' if shown else ""
    return page.section("An example game", "Press play to watch it.", games)


def _saliency(facts: RunFacts) -> str:
    values_are = "Q-values" if facts.run.algorithm == "dqn" else "probabilities"
    shown = [
        page.moment(
            figures.saliency_image(each.frame, each.saliency),
            facts.run.actions,
            each.values.tolist(),
            "A frame; what matters most to the network is coloured",
        )
        for each in facts.moments()
    ]
    return page.section(
        "What the network looks at",
        f"Moments of that game in which the choice mattered most, with the {values_are} of the actions. A "
        "part of the frame is coloured if the values change when it is blurred (Greydanus et al. 2018, "
        "Visualizing and Understanding Atari Agents, arXiv 1711.00138).",
        page.moments(shown),
    )


def _published(facts: RunFacts) -> str:
    published = PUBLISHED.get(facts.run.env, [])
    table = facts.run.table("validations")
    if not published or not table or not np.isfinite(table["mean"]).any():
        return ""
    best = int(np.nanargmax(table["mean"]))
    games, mean, median, most = (float(table[name][best]) for name in ("games", "mean", "median", "max"))
    minutes = f"{facts.run.minutes:,.0f} minutes"
    own = ("this run, best validation", "accelerating, birds", games, mean, median, most, minutes)
    measure = command_line("evaluate", "--model", facts.run.path)
    return page.section(
        "Beside published results",
        "Results of others as their authors report them. A validation chooses the best model and ends its "
        "games at a cap, so a fair comparison needs an evaluation on other seeds:",
        page.code(measure),
        page.table(COMPARED, [own, *published], [0]),
    )


def _repeat(facts: RunFacts) -> str:
    command = facts.of_card("training", "repeat") or facts.of_card("training", "command")
    yaml = facts.configuration
    if len(yaml) > MAX_YAML:
        yaml = yaml[:MAX_YAML] + "\n..."
    return page.section(
        "How to repeat it",
        "The command, the versions of everything that matters, and all settings.",
        page.code(str(command)) if command else "",
        page.table(("what", "version"), list(facts.versions.items())) if facts.versions else "",
        page.folded("All settings", page.code(yaml, wrap=False)),
    )


# --- Several runs ----------------------------------------------------------------------------------------


def _several(facts: Sequence[RunFacts]) -> str:
    names = [each.run.name for each in facts]
    sections = [
        page.section(
            "Learning curves",
            "The mean of ten games of training each, smoothed, and the means of validations.",
            page.figures(figures.comparison([each.run for each in facts])),
        ),
        page.section("Results", "One line for each run.", _results(facts)),
        page.section(
            "Different settings",
            "Settings in which the runs differ.",
            _if_any(("setting", *names), _differences([each.settings for each in facts])),
        ),
        page.section(
            "Different versions",
            "Versions in which the runs differ.",
            _if_any(("what", *names), _differences([each.versions for each in facts])),
        ),
        page.section(
            "Example games",
            "The last seconds of the best validation game of each run, as its network saw them. Press play.",
            _clips(facts),
        ),
    ]
    lead = ", ".join(dict.fromkeys(f"{each.run.env} by {each.run.algorithm.upper()}" for each in facts))
    title = ", ".join(names)
    return page.page("Comparison of runs", title, lead, filter(None, sections), __version__, _today())


def _results(facts: Sequence[RunFacts]) -> str:
    columns = ("run", "best validation, mean", "median", "min", "max", "minutes", "steps", "episodes")
    rows = []
    for each in facts:
        run, table = each.run, each.run.table("validations")
        known = bool(table) and np.isfinite(table["mean"]).any()
        best: dict[str, Any] = {}
        if known:
            i = int(np.nanargmax(table["mean"]))
            best = {name: float(table[name][i]) for name in ("mean", "median", "min", "max")}
        scores = [best.get(name) for name in ("mean", "median", "min", "max")]
        rows.append(
            (run.name, *scores, round(run.minutes, 1), run.steps, len(run.table("episodes")["score"]))
        )
    means = [row[1] or -np.inf for row in rows]
    return page.table(columns, rows, [int(np.argmax(means))])


def _differences(all_settings: Sequence[dict[str, str]]) -> list[tuple[str, ...]]:
    names = dict.fromkeys(name for settings in all_settings for name in settings)
    rows = ((name, *(settings.get(name, "-") for settings in all_settings)) for name in names)
    return [row for row in rows if len(set(row[1:])) > 1][:MAX_ROWS]


def _if_any(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return page.table(names, rows) if rows else ""


def _clips(facts: Iterable[RunFacts]) -> str:
    shown = [
        page.video(figures.clip_video(each.clip), each.run.name, "frames") for each in facts if each.clip
    ]
    return f'<div class="game">{"".join(shown)}</div>' if shown else ""


def _started(run: RunDirectory) -> str:
    return time.strftime("%d %B %Y", time.localtime(run.started))


def _today() -> str:
    return time.strftime("%d %B %Y")

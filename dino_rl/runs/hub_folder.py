"""A folder with a model as the Hugging Face Hub shows it: weights, card, results, a video, and a page.

The page is README.md with the Hub's metadata on top
(https://huggingface.co/docs/hub/model-cards). The Hub plays replay.mp4 beside it.
"""

import shutil
from pathlib import Path
from typing import Any

from dino_rl.errors import RunError
from dino_rl.runs.model_file import card_path, save_card
from dino_rl.runs.output import check_writable, make_directory, whole_file, write_json, write_text
from dino_rl.runs.run_directory import ABOUT, HUB_MODEL

PAGE, RESULT, VIDEO = "README.md", "evaluation.json", "replay.mp4"
MARK = "library_name: dino-rl"  # in every page that is written here


def check_folder(directory: Path) -> None:
    """Refuse a directory in which something of somebody else's would be replaced. Nothing is created.

    Raises:
        RunError: it cannot be written, is a run's, or has a README.md of something else.
    """
    page = directory / PAGE
    check_writable(page)
    if (directory / ABOUT).exists():
        raise RunError(f"{directory} is a run directory: name another one.")
    if page.exists() and MARK not in page.read_text(encoding="utf-8", errors="replace"):
        raise RunError(f"{page} is the page of something else: name another directory.")


def write_folder(
    directory: Path,
    model: Path,
    card: dict[str, Any],
    configuration: str,
    result: dict[str, Any] | None,
    score: str,
    license_id: str,
) -> list[Path]:
    """Write everything but the video, which belongs at `VIDEO`.

    Args:
        directory: the folder.
        model: an .h5 file.
        card: of the model.
        configuration: of its training, as YAML.
        result: of `evaluate`; None: the page shows the validation in the card.
        score: what the environment calls the result of a game: "score" or "return".
        license_id: the Hub's id of a license.

    Returns:
        the files.

    Raises:
        RunError: a file cannot be written.
    """
    make_directory(directory)
    target = directory / HUB_MODEL
    with whole_file(target) as part:
        shutil.copyfile(model, part)
    save_card(target, card)
    written = [target, card_path(target)]
    if result is not None:
        write_json(directory / RESULT, result)
        written.append(directory / RESULT)
    video = (directory / VIDEO).exists()
    write_text(directory / PAGE, page(card, configuration, result, score, license_id, video))
    return [directory / PAGE, *written, *[directory / VIDEO] * video]


def page(
    card: dict[str, Any],
    configuration: str,
    result: dict[str, Any] | None,
    score: str,
    license_id: str,
    video: bool,
) -> str:
    """README.md; arguments as for `write_folder`, and whether there is a video."""
    import yaml

    env, algorithm = card["settings"]["env"]["id"], card["algorithm"]
    measured = result or card.get("validation")
    metadata: dict[str, Any] = {
        "library_name": "dino-rl",
        "license": license_id,
        "pipeline_tag": "reinforcement-learning",
        "tags": [
            env,
            "reinforcement-learning",
            "deep-reinforcement-learning",
            algorithm,
            "keras",
            "gymnasium",
        ],
    }
    if measured:
        spread = f" +/- {measured['std']:.2f}" if "std" in measured else ""
        metric = {"type": "mean_reward", "name": "mean_reward"}
        if score != "return":  # the Hub's mean_reward is a return
            metric = {"type": f"mean_{score}", "name": f"mean {score}"}
        metadata["model-index"] = [
            {
                "name": f"{algorithm}-{env}",
                "results": [
                    {
                        "task": {"type": "reinforcement-learning", "name": "reinforcement-learning"},
                        "dataset": {"name": env, "type": env},
                        "metrics": [
                            {**metric, "value": f"{measured['mean']:.2f}{spread}", "verified": False}
                        ],
                    }
                ],
            }
        ]
    actions = ", ".join(card.get("actions", ()))
    values_are = "probabilities" if algorithm == "cem" else "Q-values"
    shape = "x".join(map(str, card["observation_shape"]))
    training = card.get("training", {})
    command = training.get("repeat", training.get("command"))
    parts = [
        f"---\n{yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True)}---",
        f"# {algorithm.upper()} for {env}",
        f"A model of dino-rl: a Keras network that maps observations of shape {shape} to "
        f"{values_are} of {card['num_actions']} actions ({actions}).",
        f"Video: [{VIDEO}]({VIDEO})" if video else "",
        "## Results",
        _results(card, result, score),
        "## Use",
        "```\nhf download USER/NAME --local-dir model\n"
        "dino-rl play --model model\ndino-rl evaluate --model model\n```",
        "```python\nfrom dino_rl.player import load_player\n\n"
        'player = load_player("model")\nactions = player.act(observations)  # '
        f"[N, {', '.join(map(str, card['observation_shape']))}] -> [N]\n```",
        f"`{HUB_MODEL}` has the weights, `{Path(HUB_MODEL).with_suffix('.json')}` everything else that is "
        "known of the model. Loading it runs no code from these files.",
        "## Training",
        f"```\n{command}\n```" if command else "",
        _table(
            ("environment steps", "updates", "minutes", "seed"),
            [[_number(training.get(name)) for name in ("steps", "updates", "minutes", "seed")]],
        ),
        "Versions: " + ", ".join(f"{name} {text}" for name, text in card.get("versions", {}).items()) + ".",
        f"<details><summary>Configuration</summary>\n\n```yaml\n{configuration.strip()}\n```\n\n</details>",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _results(card: dict[str, Any], result: dict[str, Any] | None, score: str) -> str:
    rows = []
    if result:
        low, high = result["confidence"]
        seeds = f"{min(result['seeds'])}-{max(result['seeds'])}"
        interval = f"{_number(low)} to {_number(high)}"
        rows.append(_row("evaluation, greedy", result, seeds, interval))
    validation = card.get("validation")
    if validation:
        seeds = f"{validation['first_seed']}-{validation['first_seed'] + validation['games'] - 1}"
        rows.append(_row("validation, which chose this model", validation, seeds, "-"))
    if not rows:
        return "The model has not been measured."
    names = ("games of", "games", "seeds", f"{score} cap", f"mean {score}", "95 % confidence interval")
    table = _table((*names, "median", "min", "max"), rows)
    if not result:
        return table + "\n\nThe validation chose this model, so its mean is somewhat optimistic."
    return table + f"\n\nThe seeds of the evaluation were not used in training. `{RESULT}` has every game."


def _row(what: str, result: dict[str, Any], seeds: str, interval: str) -> list[str]:
    numbers = [_number(result.get(name)) for name in ("max_score", "mean")]
    rest = [_number(result.get(name)) for name in ("median", "min", "max")]
    return [what, _number(result["games"]), seeds, *numbers, interval, *rest]


def _table(names: tuple[str, ...], rows: list[list[str]]) -> str:
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"

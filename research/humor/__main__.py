"""How well jokes are ranked for new readers after a few ratings: jokes that others rated, and new ones.

    DATA=folder python -m research.humor [--readers 500] [--language-readers 16] [--tuned-readers 6]

The folder is the replay's: jokes.json and ratings.csv.gz. Most readers' ratings fit the factors, exactly as
`training.factors` fits them to the log; the others are new, and their ratings are learned one by one.

Methods that ask a language model are expensive: they rank fewer jokes, for fewer readers, after fewer counts of
ratings. So every method is compared with SLOP on the same readers and jokes. Every option can be given in the
environment too. HUMOR_LANGUAGE_READERS=0 HUMOR_TUNED_READERS=0 leave the expensive methods out. With HUMOR_EARLIER,
the humor.json of an earlier run, their rows come from there, and say which basis they were compared with.
"""

import os
from typing import Final

import numpy as np
from rich.console import Console

from research import jokes
from research.humor.figures import Results, add_group, calibrated
from research.humor.methods import LANGUAGE_ASKED, Group, language_groups, methods_for
from research.humor.report import ahead_table, calibration_table, save, table_of
from research.humor.settings import HumorSettings
from research.humor.tasks import COUNTS, Jokes, known_task, unseen_task
from research.ratings import chosen_raters, load_ratings
from research.screen import options_or_advice, progress_on, run_study
from slop.basis import Basis
from slop.settings import LearningSettings

UNSEEN: Final = 20


def study(settings: HumorSettings, console: Console) -> Results:
    """All figures.

    Raises:
        UserError: the data is missing or broken.
        training.factors.refit.RefitRefused: the factors rank no better than the text features.
    """
    data = load_ratings(settings.data)
    rng = np.random.default_rng(settings.seed)
    chosen = chosen_raters(data, settings.readers, max(COUNTS), rng)
    others = [user for user in data.ratings if user not in chosen]
    basis = Basis.load(LearningSettings().basis_dir)
    with progress_on(console) as progress:
        all_jokes = Jokes(data, jokes.text_features(basis, list(data.jokes.values()), progress))
        embedded = jokes.embeddings(all_jokes.texts)
        everything = np.arange(len(all_jokes.texts))
        unseen = frozenset(rng.permutation(everything)[:UNSEEN].tolist())
        rest = np.array([joke for joke in everything if joke not in unseen])
        raters = list(chosen.values())
        dear = language_groups(settings, basis, all_jokes.texts)
        results = Results(fitted_readers=len(others))
        tasks = (known_task(raters, all_jokes), everything), (unseen_task(raters, all_jokes, unseen), rest)
        for task, known in tasks:
            reactions = all_jokes.reactions(data, others, known)
            ours, methods = methods_for(basis, reactions, all_jokes, embedded, settings.size)
            everybody = Group(methods, COUNTS, len(raters), len(everything))
            for group in (everybody, *dear):
                add_group(results, task, ours, group, progress)
            if task.name == "known":
                results.calibration.extend(calibrated(task, ours))
                if settings.save_basis:
                    ours.basis.save(settings.save_basis)
    return results


def humor(settings: HumorSettings, console: Console) -> None:
    """Run the study, print the tables and write the files."""
    results = study(settings, console)
    for name in ("known", "unseen"):
        console.print(table_of(results.rows, name, results.costs))
        console.print(ahead_table(results.rows, name))
    console.print(calibration_table(results.calibration))
    basis = Basis.load(LearningSettings().basis_dir).version
    about = {
        "seed": settings.seed,
        "factors": settings.size,
        "basis": basis,
        "fitted_readers": results.fitted_readers,
        "most_asked_of_a_model": LANGUAGE_ASKED,
        "device": settings.device or f"{len(os.sched_getaffinity(0))} CPU cores",
    }
    save(settings.out, results, about, settings.earlier)
    console.print(f"Results: {settings.out}/humor.csv, .md, .json and .png")


def main() -> int:
    """The command line; returns the exit status."""
    advice = "DATA=folder with jokes.json and ratings.csv.gz"
    return run_study(lambda console: humor(options_or_advice(HumorSettings, advice), console))


if __name__ == "__main__":
    raise SystemExit(main())

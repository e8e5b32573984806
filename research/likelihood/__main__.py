"""How likely unseen posts are under the prompts of a basis: chosen by a post's first half, measured on its second.

    DATA=folder python -m research.likelihood     # the jokes of the ratings' folder, in folds
    POSTS=posts.jsonl python -m research.likelihood     # one's own posts, in folds

A basis is built on all folds but one as `make basis` does, and measured on that one. Held-out posts of the catalogue
under the default basis come for free; without a folder or a file they are all there is. A fold that is done is kept in
.run/studies for the next time.
"""

from typing import Any, Final

from rich.console import Console

from research.base_model import base_model
from research.embedder import sentence_embedder
from research.likelihood import report
from research.likelihood.settings import LikelihoodSettings
from research.likelihood.study import Study
from research.likelihood.texts import held_out_posts, jokes_in, posts_in
from research.screen import options_or_advice, run_study
from slop.basis import Basis
from slop.settings import LearningSettings
from training.heap import keep_freed_memory
from training.language_model import LanguageModel

ADVICE: Final = "DATA=folder with jokes.json and ratings.csv.gz, or POSTS=file of posts"


def study_of(basis: Basis, settings: LikelihoodSettings, console: Console) -> Study:
    """The study on the local run's model.

    Raises:
        UserError: the basis is of another model.
    """
    keep_freed_memory()
    return Study(LanguageModel.load(base_model(basis), basis.template), basis, sentence_embedder, settings, console)


def folds_texts(settings: LikelihoodSettings) -> tuple[str, list[str]] | None:
    """What is measured in folds, and its name; None if nothing is.

    Raises:
        UserError: it is missing or broken.
    """
    if settings.posts:
        return settings.posts.stem, posts_in(settings.posts)
    return ("jokes", jokes_in(settings.data)) if settings.data else None


def about(basis: Basis, settings: LikelihoodSettings) -> dict[str, Any]:
    """What the figures were taken with."""
    return {
        "model": basis.model,
        "revision": basis.revision,
        "basis": basis.version,
        **settings.model_dump(include={"folds", "prompts", "steps", "tokens", "seed"}),
    }


def likelihood(settings: LikelihoodSettings, console: Console) -> None:
    """Run the study, print the tables and write the files."""
    in_folds = folds_texts(settings)
    basis = Basis.load(LearningSettings().basis_dir)
    study = study_of(basis, settings, console)
    measured = {in_folds[0]: study.folds(in_folds[1])} if in_folds else {}
    measured["catalogue"] = study.catalogue(held_out_posts(settings.catalogue, settings.seed))
    rows = [row for name, posts in measured.items() for row in report.rows_of(name, posts)]
    report.show(console, rows, about(basis, settings), settings.out)


def main() -> int:
    """The command line; returns the exit status."""
    return run_study(lambda console: likelihood(options_or_advice(LikelihoodSettings, ADVICE), console))


if __name__ == "__main__":
    raise SystemExit(main())

"""What readers are shown, and the learner that knows its features."""

from rich.progress import Progress

from client.catalogue import LabelledCatalogue, Post, by_label
from research import jokes
from research.topics.people import Learner
from slop.basis import Basis


def learner_and_posts(
    basis: Basis, catalogue: LabelledCatalogue, a_class: int, progress: Progress
) -> tuple[Learner, dict[str, list[Post]]]:
    """The first so many catalogue posts of each class, and a learner with their features."""
    shown = {label: posts[:a_class] for label, posts in by_label(catalogue.shown).items()}
    listed = [post for posts in shown.values() for post in posts]
    features = jokes.text_features(basis, [post.text for post in listed], progress)
    return Learner(basis, {post.post_id: row for post, row in zip(listed, features, strict=True)}), shown

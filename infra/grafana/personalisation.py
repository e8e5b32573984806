"""Personalisation: whether readers like what is written for them more than plain posts."""

from collections.abc import Callable
from itertools import pairwise

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.models.dashboard import DynamicConfigValue

from infra.grafana import colours
from infra.grafana.board import board, with_panels, with_section
from infra.grafana.panels import PER_S, AnyPanel, Query, Words, bars, lines, number, plain, ranks
from infra.grafana.queries import rate

SOFT, BASE = 'arm="soft"', 'arm="base"'
LIFT, OUTSIDE = "slop:lift", f'{{{SOFT},experiment=""}}'  # outside of any experiment
REACTIONS, PREFERENCE = "slop_learner_reactions_total", "slop_learner_preference_bucket"
POSTS = "slop_generated_posts_total"
NOT_CHOSEN = 'served="first"'
LIKED = 'observed="liked",'
UNNAMED = DynamicConfigValue("custom.hideFrom", {"legend": True, "tooltip": False, "viz": False})
EDGES = [f"{tenth / 10:.1f}" for tenth in range(11)]
INTERACTIONS = ("1-3", "4-7", "8-15", "16-31", "32+")
VERDICTS = {
    "1": ("personal is liked more", colours.GREEN),
    "0": ("not told apart yet", colours.GREY),
    "-1": ("plain is liked more", colours.RED),
}


def personalisation() -> Dashboard:
    """The dashboard."""
    made = board(
        "slop-personalisation", "4 · Personalisation", "Do readers like what is written for them more than plain posts?"
    )
    made = with_panels(made, (*answer(), *engagement()))
    made = with_section(made, "Arms and experiments", arms())
    return with_section(made, "Readers", (*taste(), *readers()))


def answer() -> list[AnyPanel]:
    """The answer in a line."""
    return [
        number(
            Words(
                "Verdict",
                "string",
                "Whether the 95% interval of the lift lies above 0.",
                "Red, or grey after hundreds of reactions in each arm.",
            ),
            Query(f"({LIFT}:low{OUTSIDE} > bool 0) - ({LIFT}:high{OUTSIDE} < bool 0)"),
            plain(colours.GREY),
            span=6,
            height=4,
            names=VERDICTS,
        ),
        number(
            Words(
                "Lift",
                "percentunit",
                "Liked share of the arm soft less the control's, outside of experiments, since the learner started.",
                "Below 0.",
            ),
            Query(f"{LIFT}:ratio{OUTSIDE}"),
            ((None, colours.RED), (0, colours.GREEN)),
            span=4,
            height=4,
            decimals=1,
        ),
        number(
            Words(
                "95% from",
                "percentunit",
                "The low end of the lift's 95% interval.",
                "Below 0 after hundreds of reactions.",
            ),
            Query(f"{LIFT}:low{OUTSIDE}"),
            ((None, colours.AMBER), (0, colours.GREEN)),
            span=3,
            height=4,
            decimals=1,
        ),
        number(
            Words("95% to", "percentunit", "The high end of the lift's 95% interval.", "Below 0."),
            Query(f"{LIFT}:high{OUTSIDE}"),
            ((None, colours.RED), (0, colours.GREEN)),
            span=3,
            height=4,
            decimals=1,
        ),
        number(
            Words(
                "Personal: reactions",
                "locale",
                "Learned reactions to posts of the personal arm.",
                "It stands still.",
            ),
            Query(f"sum({REACTIONS}{{{SOFT}}})"),
            plain(colours.PERSONAL),
            span=4,
            height=4,
            decimals=0,
            sparkline=True,
        ),
        number(
            Words(
                "Control: reactions",
                "locale",
                "Learned reactions to posts of the control arm, a twentieth of readers.",
                "It stands still.",
            ),
            Query(f"sum({REACTIONS}{{{BASE}}})"),
            plain(colours.CONTROL),
            span=4,
            height=4,
            decimals=0,
            sparkline=True,
        ),
    ]


def engagement() -> list[AnyPanel]:
    """Both arms over time."""
    return [
        lines(
            Words(
                "Liked share of each arm",
                "percentunit",
                "The share of reactions that like the post, by the arm that wrote it.",
                "soft is not above base, the control.",
            ),
            Query("slop:engagement:ratio", "{{arm}}"),
            span=8,
            height=8,
            top=1,
            colours=colours.ARMS,
        ),
        _lift(),
        lines(
            Words(
                "Reactions by arm",
                PER_S,
                "Learned reactions a second to posts of each arm.",
                "No reaction to control, without which there is no lift to tell.",
            ),
            Query(rate(REACTIONS, by="arm"), "{{arm}}"),
            span=8,
            height=8,
            stacked=True,
            colours=colours.ARMS,
        ),
    ]


def arms() -> list[AnyPanel]:
    """All arms, within experiments and outside."""
    named = 'sum by (of) (label_join({}, "of", " ", "arm", "experiment"))'
    return [
        bars(
            Words(
                "Lift of each arm over the control of its experiment",
                "percentunit",
                "The difference of liked shares with its 95% interval, since the learner started; "
                "`python -m jobs lift` tells it since ever.",
                "A whole group below 0: readers like plain posts more than the arm's.",
            ),
            Query(named.format(f"{LIFT}:low"), "from", colours.GREY),
            Query(named.format(f"{LIFT}:ratio"), "lift", colours.PERSONAL),
            Query(named.format(f"{LIFT}:high"), "up to", colours.USUAL),
            by="of",
            span=12,
            height=9,
            least=None,
        ),
        lines(
            Words(
                "Posts by arm",
                PER_S,
                "Posts a second that were written in each arm.",
                "An arm of a running experiment writes none: its upstream may be away.",
            ),
            Query(rate(POSTS, by="arm"), "{{arm}}"),
            span=12,
            height=9,
            stacked=True,
            colours=colours.ARMS,
        ),
    ]


def taste() -> list[AnyPanel]:
    """Whether the prediction is right, and the posts differ."""
    return [
        bars(
            Words(
                "Calibration: predicted and observed preference",
                "percentunit",
                "Of the reactions that were predicted to be likes with this probability, the share that were.",
                "A coloured bar far from its grey one.",
            ),
            Query(by_bin(_observed), "observed", colours.PERSONAL),
            Query(by_bin(_predicted), "as predicted", colours.CONTROL),
            by="predicted",
            span=10,
            height=9,
            top=1,
        ),
        bars(
            Words(
                "Predictions made",
                "locale",
                "Reactions by the predicted probability of a like.",
                "All of them in the middle, since then nothing is known of readers.",
            ),
            Query(by_bin(_count), "reactions", colours.LEARNER),
            by="predicted",
            span=8,
            height=9,
        ),
        lines(
            Words(
                "Variety",
                "percentunit",
                "Distinct-2 of the last 200 posts of each arm: different word pairs by all word pairs.",
                "soft falls far below base, since posts repeat themselves.",
            ),
            Query("max by (arm) (slop_generated_distinct2) > 0", "{{arm}}"),
            span=6,
            height=9,
            top=1,
            colours=colours.ARMS,
        ),
    ]


def readers() -> list[AnyPanel]:
    """How well readers are known."""
    return [
        ranks(
            Words(
                "Readers by number of interactions",
                "locale",
                "Profiles by how many interactions they have learned.",
                "All stay in the first bar: readers do not come back.",
            ),
            *(Query(f'sum(slop:profiles:count{{interactions="{count}"}})', count) for count in INTERACTIONS),
            span=8,
            height=8,
            colour=colours.PROFILES,
        ),
        lines(
            Words(
                "Posts by why they are personal or not",
                PER_S,
                "Posts a second by reason.",
                "Few personalized ones while many readers are known.",
            ),
            Query(rate(POSTS, by="reason"), "{{reason}}"),
            span=8,
            height=8,
            stacked=True,
            colours=colours.REASONS,
        ),
        lines(
            Words(
                "Composed, written again, not chosen",
                "percentunit",
                "For each post: with a style and a subject at once; drafts that were a known post, or empty; requests "
                "whose first candidates were served, since the featurizer did not read them in time.",
                "Many are written again: the basis repeats its catalogue, or the engine writes nothing. Many are not "
                "chosen: candidates are paid for and nothing is had of them, the featurizer has too much to do.",
            ),
            Query(f"{rate('slop_composed_posts_total')} / {rate(POSTS)}", "composed", colours.PERSONAL),
            Query(f"{rate('slop_rewritten_posts_total')} / {rate(POSTS)}", "written again", colours.RED),
            Query(f"{rate('slop_chosen_requests_total', NOT_CHOSEN)} / {rate(POSTS)}", "not chosen", colours.AMBER),
            span=8,
            height=8,
        ),
    ]


def by_bin(of: Callable[[str, str], str]) -> str:
    """One series for each tenth of the predicted probability, told apart by the label `predicted`."""
    return " or ".join(
        f'label_replace({of(low, high)}, "predicted", "{low}–{high}", "", "")' for low, high in pairwise(EDGES)
    )


def _predicted(low: str, high: str) -> str:
    return f"vector(({low} + {high}) / 2)"


def _observed(low: str, high: str) -> str:
    return f"{_count(low, high, LIKED)} / {_count(low, high)}"


def _count(low: str, high: str, labels: str = "") -> str:
    """How many reactions were predicted between two edges; a bucket counts all below its edge."""
    until_high, until_low = (f'sum({PREFERENCE}{{{labels}le="{edge}"}})' for edge in (high, low))
    return until_high if low == EDGES[0] else f"({until_high} - {until_low})"


def _lift() -> AnyPanel:
    """The lift within its interval, as a band."""
    panel = lines(
        Words(
            "Lift over plain control, with its 95% interval",
            "percentunit",
            "Liked share of the arm soft less the control's, outside of experiments, since the learner started.",
            "The band does not narrow, or lies below 0.",
        ),
        Query(f"{LIFT}:high{OUTSIDE}", "up to", colours.PERSONAL),
        Query(f"{LIFT}:low{OUTSIDE}", "from", colours.PERSONAL),
        Query(f"{LIFT}:ratio{OUTSIDE}", "lift", colours.PERSONAL),
        span=8,
        height=8,
    )
    no_line = [DynamicConfigValue("custom.lineWidth", 0), DynamicConfigValue("custom.fillOpacity", 0), UNNAMED]
    band = [
        DynamicConfigValue("custom.lineWidth", 0),
        DynamicConfigValue("custom.fillOpacity", 20),
        DynamicConfigValue("custom.fillBelowTo", "from"),
        UNNAMED,
    ]
    panel = panel.override_by_name("up to", band).override_by_name("from", no_line)
    return panel.min(-1).axis_soft_min(-0.1).override_by_name("lift", [DynamicConfigValue("custom.fillOpacity", 0)])

"""The loop: one screen that follows an interaction from the browser to the text that comes of it."""

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.models.dashboard import GridPos

from infra.grafana import colours
from infra.grafana.board import board, with_panels
from infra.grafana.panels import (
    NONE_YET,
    PER_S,
    TOKENS_PER_S,
    AnyPanel,
    Query,
    Steps,
    Words,
    lines,
    note,
    number,
    plain,
    rising,
)
from infra.grafana.queries import FIRING, PERSONAL, PLAIN, age, lag, quantile, rate
from infra.grafana.shared_panels import TARGET_S, freshness, personal_posts, waiting_in_kafka
from slop.kafka.groups import FEATURIZER_GROUP, LEARNER_GROUP

SPAN = 4

TAKEN = rate("slop_collector_accepted_total", 'type!="post"')
JOINED = rate("slop_featurizer_interactions_total")
LEARNED = rate("slop_learner_signals_total", 'outcome="learned"')
WRITTEN = rate("slop_generated_posts_total")


def loop() -> Dashboard:
    """The dashboard."""
    made = board("slop-loop", "1 · The loop", "How fast do a reader's reactions come back as text?")
    return with_panels(made, (*steps(), *amounts(), *queues(), *durations(), *history()))


def steps() -> list[AnyPanel]:
    """The path in words, a column for each step; the figures below stand in the same columns."""
    return [
        _step("① Browser → collector", "A reader likes, skips, lingers. The **collector** puts it into Kafka. →"),
        _step("② Kafka → featurizer", "The **featurizer** joins the reaction with the features of its post. →"),
        _step("③ Kafka → learner", "The **learner** turns the signal into an update of the reader's taste. →"),
        _step("④ Profiles in Redis", "The reader is a few hundred bytes, new within a second. →"),
        _step("⑤ Profile → generation", "**Generation** turns the taste into a soft prompt, or writes plainly. →"),
        _step("⑥ vLLM → text", "**vLLM** writes the post. The reader reacts to it, and ① begins again. ↺"),
    ]


def amounts() -> list[AnyPanel]:
    """How much passes each step."""
    return [
        _amount(
            "Reactions taken",
            PER_S,
            TAKEN,
            colours.COLLECTOR,
            "Reactions that Kafka has acknowledged, a second.",
            "Nothing while readers are active.",
        ),
        _amount(
            "Reactions joined",
            PER_S,
            JOINED,
            colours.FEATURIZER,
            "Reactions that met their post's features, a second.",
            "Fewer than were taken.",
        ),
        _amount(
            "Signals learned",
            PER_S,
            LEARNED,
            colours.LEARNER,
            "Signals that moved a profile, a second.",
            "Far fewer than joined (a plain impression moves none).",
        ),
        _amount(
            "Readers known",
            "locale",
            "sum(slop:profiles:count)",
            colours.PROFILES,
            "Profiles in Redis, counted every minute.",
            "It falls, since no profile is ever evicted.",
            decimals=0,
        ),
        _amount(
            "Posts written",
            PER_S,
            WRITTEN,
            colours.GENERATION,
            "Posts written for readers, a second.",
            "Nothing while readers ask.",
        ),
        _amount(
            "Tokens",
            TOKENS_PER_S,
            rate("vllm:generation_tokens_total"),
            colours.ENGINE,
            "Tokens that vLLM writes a second.",
            "It stays flat while requests wait.",
            decimals=0,
        ),
    ]


def queues() -> list[AnyPanel]:
    """What waits before each step, and how old the newest profile is."""
    return [
        _wait(
            "Waiting for Kafka",
            "sum(slop_collector_waiting_records)",
            rising(100, 1_000),
            "Records taken and not yet acknowledged.",
            "It grows, since Kafka is slow or away.",
        ),
        _wait(
            "Waiting for the featurizer",
            lag(FEATURIZER_GROUP),
            rising(500, 5_000),
            "Records in Kafka that the featurizer has not read.",
            "It grows, since posts come faster than they are computed.",
        ),
        _wait(
            "Waiting for the learner",
            lag(LEARNER_GROUP),
            rising(500, 5_000),
            "Signals in Kafka that the learner has not read.",
            "It grows, since profiles fall behind.",
        ),
        number(
            Words(
                "Last reaction learned",
                "s",
                "How long ago the newest learned reaction was received.",
                "It grows while reactions are taken.",
            ),
            Query(age("slop_learner_last_received_seconds")),
            plain(colours.PROFILES),
            names=NONE_YET,
            span=SPAN,
            height=3,
            decimals=0,
        ),
        _wait(
            "Being answered",
            'sum(slop_http_requests_in_flight{job="generation"})',
            rising(32, 128),
            "Requests that generation works on.",
            "It grows, since the engine can't keep up.",
        ),
        _wait(
            "Waiting in vLLM",
            "sum(vllm:num_requests_waiting)",
            rising(8, 32),
            "Requests that wait for a place in vLLM's batch.",
            "It stays above 0.",
        ),
    ]


def durations() -> list[AnyPanel]:
    """How long each step takes, for all but the slowest twentieth."""
    return [
        _time(
            "Time to the 202",
            quantile(0.95, "slop_http_request_seconds", 'job="collector"'),
            rising(0.25, 1),
            "95% of the collector's answers came within this.",
            "Above a quarter second, readers' browsers wait.",
        ),
        _time(
            "Time to join",
            quantile(0.95, "slop_featurizer_batch_seconds"),
            rising(1, 5),
            "95% of the featurizer's batches took less.",
            "Seconds, since many posts are seen for the first time.",
        ),
        _time(
            "Time to learn",
            quantile(0.95, "slop_learner_batch_seconds"),
            rising(0.1, 1),
            "95% of the learner's batches took less.",
            "Above a tenth of a second, Redis is slow.",
        ),
        _time(
            "Reaction → profile",
            "slop:freshness_seconds:p95",
            rising(TARGET_S, 5),
            "Freshness: 95% of reactions were in the reader's profile within this.",
            "Above a second.",
        ),
        _time(
            "Time to the whole answer",
            quantile(0.95, "slop_generate_seconds"),
            rising(5, 15),
            "95% of answers were complete within this.",
            "Readers wait for many seconds.",
        ),
        _time(
            "Time to the first token",
            quantile(0.95, "vllm:time_to_first_token_seconds"),
            rising(1, 5),
            "95% of posts began within this in vLLM.",
            "Above a second, requests queue.",
        ),
    ]


def history() -> list[AnyPanel]:
    """The same over time."""
    return [
        lines(
            Words(
                "Reactions: taken, joined, learned",
                PER_S,
                "Reactions a second at the first three steps.",
                "A later line stays below an earlier one.",
            ),
            Query(TAKEN, "taken", colours.COLLECTOR),
            Query(JOINED, "joined", colours.FEATURIZER),
            Query(LEARNED, "learned", colours.LEARNER),
            span=6,
            height=8,
        ),
        waiting_in_kafka(
            Query(lag(FEATURIZER_GROUP), "for the featurizer", colours.FEATURIZER),
            Query(lag(LEARNER_GROUP), "for the learner", colours.LEARNER),
            span=5,
        ),
        freshness(span=5, height=8),
        lines(
            Words(
                "Posts: personal and plain",
                PER_S,
                "Posts a second, by whether the reader's taste wrote them.",
                "Plain ones for another cause than new readers and the control arm.",
            ),
            Query(rate("slop_generated_posts_total", PERSONAL), "personal", colours.GENERATION),
            Query(rate("slop_generated_posts_total", PLAIN), "plain", colours.GREY),
            span=5,
            height=8,
            stacked=True,
        ),
        personal_posts(),
        number(
            Words("Alerts firing", "short", "Alerts of Prometheus that fire now.", "Any. Its page Alerts names them."),
            Query(FIRING),
            rising(1, 2),
            span=3,
            height=4,
        ).grid_pos(GridPos(x=21, y=17, w=3, h=4)),
    ]


def _step(title: str, markdown: str) -> AnyPanel:
    return note(
        title, markdown, f"Step {title[0]} of the loop; the figures below it are about this step.", span=SPAN, height=3
    )


def _amount(title: str, unit: str, expr: str, colour: str, tells: str, bad: str, decimals: int = 1) -> AnyPanel:
    words = Words(title, unit, tells, bad)
    return number(words, Query(expr), plain(colour), span=SPAN, height=4, decimals=decimals, sparkline=True)


def _wait(title: str, expr: str, steps: Steps, tells: str, bad: str) -> AnyPanel:
    return number(Words(title, "short", tells, bad), Query(expr), steps, span=SPAN, height=3, decimals=0)


def _time(title: str, expr: str, steps: Steps, tells: str, bad: str) -> AnyPanel:
    return number(Words(title, "s", tells, bad), Query(expr), steps, span=SPAN, height=3)

"""Learning: the featurizer, the learner, and the jobs beside them."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from infra.grafana import colours
from infra.grafana.board import board, with_panels, with_section
from infra.grafana.panels import NONE_YET, PER_S, AnyPanel, Query, Words, falling, lines, number, plain, ranks, rising
from infra.grafana.queries import FIRING, age, lag, mean, quantile, rate, share
from infra.grafana.shared_panels import freshness, waiting_in_kafka, within
from slop.kafka.groups import FEATURIZER_GROUP, LEARNER_GROUP, POST_FEATURES_GROUP

SIGNALS, LOOKUPS = "slop_learner_signals_total", "slop_featurizer_lookups_total"
DAY_S = 86_400
AGES = {"5m": "5 minutes", "1h": "an hour", "1d": "a day", "7d": "a week", "older": "longer ago"}


def learning() -> Dashboard:
    """The dashboard."""
    made = board(
        "slop-learning", "3 · Learning", "Do reactions become profiles at once, and does anything fall behind?"
    )
    made = with_panels(made, summary())
    made = with_section(made, "Featurizer: reactions and posts become features", featurizer())
    made = with_section(made, "Learner: signals become profiles", learner())
    made = with_section(made, "Nothing stops and nothing is lost", losses())
    return with_section(made, "Jobs and profiles: Celery and Redis", jobs())


def summary() -> list[AnyPanel]:
    """The state in eight figures."""
    return [
        number(
            Words(
                "Signals learned",
                PER_S,
                "Signals that moved a profile, a second.",
                "Nothing while readers are active.",
            ),
            Query(rate(SIGNALS, 'outcome="learned"')),
            plain(colours.LEARNER),
            span=3,
            height=4,
            decimals=1,
            sparkline=True,
        ),
        number(
            Words(
                "Freshness, 95%",
                "s",
                "95% of reactions were in the reader's profile within this.",
                "Above a second.",
            ),
            Query("slop:freshness_seconds:p95"),
            rising(1, 5),
            span=3,
            height=4,
        ),
        number(
            Words("Featurizer lag", "short", "Records in Kafka that the featurizer has not read.", "It grows."),
            Query(lag(FEATURIZER_GROUP)),
            rising(500, 5_000),
            span=3,
            height=4,
            decimals=0,
        ),
        number(
            Words("Learner lag", "short", "Signals in Kafka that the learner has not read.", "It grows."),
            Query(lag(LEARNER_GROUP)),
            rising(500, 5_000),
            span=3,
            height=4,
            decimals=0,
        ),
        number(
            Words(
                "Signals refused",
                "percentunit",
                "The share of signals that the learner can't use, or that are of another basis.",
                "Any.",
            ),
            Query(share(SIGNALS, 'outcome=~"refused|other_basis"')),
            rising(0.001, 0.01),
            span=3,
            height=4,
            decimals=1,
        ),
        number(
            Words(
                "Features found",
                "percentunit",
                "The share of reactions whose post's features lay in Redis.",
                "Below nine in ten, readers' own requests compute features.",
            ),
            Query(share(LOOKUPS, 'result="hit"')),
            falling(0.5, 0.9),
            span=3,
            height=4,
            decimals=0,
        ),
        number(
            Words(
                "Snapshot age",
                "s",
                "The age of the newest snapshot of all profiles, taken every night.",
                "More than a day and a half.",
            ),
            Query(age("slop_snapshot_timestamp_seconds")),
            rising(1.1 * DAY_S, 1.5 * DAY_S),
            names=NONE_YET,
            span=3,
            height=4,
            decimals=0,
        ),
        number(
            Words("Alerts firing", "short", "Alerts of Prometheus that fire now.", "Any, its page Alerts names them."),
            Query(FIRING),
            rising(1, 2),
            span=3,
            height=4,
        ),
    ]


def featurizer() -> list[AnyPanel]:
    """Posts' features, and reactions that are joined with them."""
    return [
        lines(
            Words(
                "Reactions by outcome",
                PER_S,
                "Reactions a second: made a signal, silent, parked until their post comes, or rejected.",
                "Rejected ones.",
            ),
            Query(rate("slop_featurizer_interactions_total", by="outcome"), "{{outcome}}"),
            span=6,
            height=8,
            stacked=True,
            colours=colours.OUTCOMES,
        ),
        lines(
            Words(
                "Time to join a batch",
                "s",
                "From a batch of reactions to its signals' acknowledgement.",
                "Seconds, since posts are seen for the first time.",
            ),
            *within("slop_featurizer_batch_seconds"),
            span=6,
            height=8,
        ),
        lines(
            Words(
                "Features of reactions' posts",
                PER_S,
                "Reactions a second by whether their post's features were there, or had to be computed first.",
                "Many computed ones.",
            ),
            Query(rate(LOOKUPS, 'result="hit"'), "found", colours.LEARNER),
            Query(rate(LOOKUPS, 'result="miss"'), "computed", colours.AMBER),
            span=6,
            height=8,
            stacked=True,
        ),
        lines(
            Words(
                "Posts by outcome",
                PER_S,
                "Posts a second from the topic: computed, known before, passed (nobody asks for them), or broken.",
                "Broken ones.",
            ),
            Query(rate("slop_featurizer_posts_total", by="outcome"), "{{outcome}}"),
            span=6,
            height=8,
            stacked=True,
            colours=colours.OUTCOMES,
        ),
        lines(
            Words(
                "Posts at once",
                "short",
                "Posts whose features are computed in one go.",
                "Always at the limit of 16, since posts come faster.",
            ),
            Query(mean("slop_featurizer_batch_posts"), "mean", colours.FEATURIZER),
            Query(quantile(0.95, "slop_featurizer_batch_posts"), "95% below", colours.SLOW),
            span=6,
            height=8,
        ),
        lines(
            Words(
                "Time to compute a post",
                "s",
                "Seconds of one post's features, by the encoder.",
                "A tenth of a second and more, since the machine is shared.",
            ),
            *within("slop_featurizer_post_seconds"),
            span=6,
            height=8,
        ),
        waiting_in_kafka(
            Query(lag(FEATURIZER_GROUP), "reactions", colours.FEATURIZER),
            Query(lag(POST_FEATURES_GROUP), "posts", colours.COLLECTOR),
            Query(lag(LEARNER_GROUP), "signals", colours.LEARNER),
            span=12,
        ),
    ]


def learner() -> list[AnyPanel]:
    """Updates of profiles."""
    return [
        lines(
            Words(
                "Signals by outcome",
                PER_S,
                "Signals a second: learned, seen before (a retry or a replay), of another basis, or refused.",
                "Refused ones.",
            ),
            Query(rate(SIGNALS, by="outcome"), "{{outcome}}"),
            span=6,
            height=8,
            stacked=True,
            colours=colours.OUTCOMES,
        ),
        freshness(span=6, height=8),
        lines(
            Words(
                "Time to learn a batch",
                "s",
                "From a batch's arrival to its commit.",
                "Above a tenth of a second, Redis is slow.",
            ),
            *within("slop_learner_batch_seconds"),
            span=6,
            height=8,
        ),
        lines(
            Words(
                "Signals in a batch",
                "short",
                "Signals that the learner takes at once, more of them under load.",
                "Always at the limit of 2,000.",
            ),
            Query(mean("slop_learner_batch_signals"), "mean", colours.LEARNER),
            Query(quantile(0.95, "slop_learner_batch_signals"), "95% below", colours.SLOW),
            span=6,
            height=8,
        ),
    ]


def losses() -> list[AnyPanel]:
    """What is ready, and what was not used."""
    return [*_ready(), *_unused()]


def _ready() -> list[AnyPanel]:
    """Which processes do their work."""
    return [
        lines(
            Words(
                "Processes that are ready",
                "short",
                "Processes of each service that do their work, as their /readyz says.",
                "Fewer than there are, since some answer and get nothing done.",
            ),
            Query("sum by (job) (slop_ready)", "{{job}}"),
            span=6,
            height=8,
        ),
        ranks(
            Words(
                "Checks that fail",
                "short",
                "Checks of /readyz that fail, over the processes of each service.",
                "Any, though generation works without Redis and Kafka.",
            ),
            Query("sum by (job) (slop_check_ok == bool 0)", "{{job}}"),
            span=6,
            height=8,
            colour=colours.RED,
        ),
    ]


def _unused() -> list[AnyPanel]:
    """Records that were not used, or may come again."""
    return [
        lines(
            Words(
                "Records that could not be used",
                "short",
                "Records a minute that went to slop.rejected.v1 with their reason; python -m jobs rejected shows them.",
                "Any, though nothing stops for them.",
            ),
            Query(_a_minute("slop_featurizer_interactions_total", 'outcome="rejected"'), "reactions", colours.RED),
            Query(_a_minute("slop_featurizer_posts_total", 'outcome="broken"'), "posts", colours.AMBER),
            Query(_a_minute(SIGNALS, 'outcome="refused"'), "signals", colours.FEATURIZER),
            span=6,
            height=8,
        ),
        lines(
            Words(
                "Reactions that wait for their post",
                "locale",
                "Reactions to posts that nobody has sent yet; they are published again when the text comes.",
                "It nears its limit, beyond which they are rejected.",
            ),
            Query("max(slop_featurizer_parked)", "waiting", colours.FEATURIZER),
            Query("max(slop_featurizer_parked_limit)", "limit", colours.GREY),
            span=6,
            height=8,
        ),
        lines(
            Words(
                "What became of parked reactions",
                "short",
                "Reactions a minute: parked, published again, given up after a day, or refused for want of room.",
                "Given up or refused ones.",
            ),
            Query("sum by (outcome) (increase(slop_featurizer_parking_total[1m]))", "{{outcome}}"),
            span=6,
            height=8,
            stacked=True,
            colours=colours.OUTCOMES,
        ),
        lines(
            Words(
                "What was learned and may come again",
                "short",
                "Records that are done with and not committed yet, since Redis may still lose what they changed.",
                "It grows, since Redis does not get to write its file.",
            ),
            Query("sum by (group) (slop_consumer_uncommitted_records and on (group) slop_live_group)", "{{group}}"),
            span=6,
            height=8,
        ),
        lines(
            Words(
                "Losses that were noticed",
                "short",
                "In a minute: partitions read anew, since the log is another or Redis has lost something; records that "
                "were deleted unread; signals taken for replays that nothing explains; snapshots refused.",
                "The last three are never right.",
            ),
            Query("sum by (reason) (increase(slop_consumer_rewinds_total[1m]))", "read anew: {{reason}}"),
            Query("sum(increase(slop_consumer_skipped_records_total[1m]))", "deleted unread", colours.AMBER),
            Query("sum(increase(slop_learner_unexplained_replays_total[1m]))", "unexplained replays", colours.RED),
            Query("sum(increase(slop_snapshot_refused_total[1m]))", "snapshots refused", colours.GREY),
            span=6,
            height=8,
        ),
        lines(
            Words(
                "Kafka's disk",
                "bytes",
                "What the logs take, and what is free on the fullest broker's disk, looked at every minute.",
                "Less than a tenth free, since Kafka ends when nothing is.",
            ),
            Query(_disk("max", "log"), "logs", colours.COLLECTOR),
            Query(_disk("min", "usable"), "free", colours.LEARNER),
            span=6,
            height=8,
        ),
    ]


def _a_minute(metric: str, labels: str) -> str:
    return f"sum(increase({metric}{{{labels}}}[1m]))"


def _disk(of_brokers: str, kind: str) -> str:
    return f'{of_brokers}(slop_kafka_disk_bytes{{kind="{kind}"}})'


def jobs() -> list[AnyPanel]:
    """Work that is not a stream, and what is kept."""
    return [
        lines(
            Words("Jobs by outcome", "short", "Jobs done in a minute, by outcome.", "Failures."),
            Query("sum by (outcome) (increase(slop_jobs_total[1m]))", "{{outcome}}"),
            span=6,
            height=8,
            stacked=True,
            colours=colours.OUTCOMES,
        ),
        lines(
            Words(
                "Time of a job",
                "s",
                "The mean duration of each task's jobs.",
                "A census that takes as long as the minute between two.",
            ),
            Query(
                "sum by (task) (slop_job_seconds_sum) / sum by (task) (slop_job_seconds_count)",
                "{{task}}",
            ),
            span=6,
            height=8,
        ),
        lines(
            Words(
                "Jobs that wait", "short", "Jobs in each queue of the broker.", "It grows, since no worker takes them."
            ),
            Query("max by (queue) (slop_jobs_waiting)", "{{queue}}"),
            span=6,
            height=8,
        ),
        ranks(
            Words(
                "Readers by the age of their profile",
                "locale",
                "Profiles by when they last learned.",
                "Few recent ones while many readers are active.",
            ),
            *(Query(f'sum(slop:profiles_updated:count{{age="{age}"}})', said) for age, said in AGES.items()),
            span=6,
            height=8,
            colour=colours.PROFILES,
        ),
        lines(
            Words(
                "Memory of Redis",
                "bytes",
                "Memory that Redis uses.",
                "Near its limit, where it refuses to write (it evicts nothing).",
            ),
            Query("max(redis_memory_used_bytes)", "used", colours.PROFILES),
            span=8,
            height=8,
        ),
        lines(
            Words("Commands of Redis", PER_S, "Commands a second.", "It falls while the load stays."),
            Query(rate("redis_commands_processed_total"), "commands", colours.PROFILES),
            span=8,
            height=8,
        ),
        lines(
            Words(
                "Snapshots and profiles",
                "locale",
                "Profiles counted every minute, and those in the newest snapshot.",
                "Either falls.",
            ),
            Query("sum(slop:profiles:count)", "profiles", colours.PROFILES),
            Query("max(slop_snapshot_profiles)", "in the newest snapshot", colours.GREY),
            span=8,
            height=8,
        ),
    ]

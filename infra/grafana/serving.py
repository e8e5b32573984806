"""Serving: generation and vLLM, from a request to its last token."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from infra.grafana import colours
from infra.grafana.board import board, with_panels, with_section
from infra.grafana.panels import PER_S, TOKENS_PER_S, AnyPanel, Query, Words, lines, number, plain, rising
from infra.grafana.queries import mean, quantile, rate
from infra.grafana.shared_panels import personal_posts, within

GENERATION = 'job="generation"'
ANSWERS = "slop_http_request_seconds_count"
TTFT, BETWEEN = "vllm:time_to_first_token_seconds", "vllm:inter_token_latency_seconds"


def serving() -> Dashboard:
    """The dashboard."""
    made = board("slop-serving", "2 · Serving", "Do readers get their posts quickly, and are they personal?")
    made = with_panels(made, summary())
    made = with_section(made, "Generation", generation())
    return with_section(made, "vLLM", engine())


def summary() -> list[AnyPanel]:
    """The state in eight figures."""
    failed = f'{GENERATION},status=~"5.."'
    return [
        _figure(
            "Requests",
            PER_S,
            rate(ANSWERS, GENERATION),
            colours.GENERATION,
            "Requests that generation answers a second.",
            "Nothing while readers ask.",
        ),
        number(
            Words(
                "Failed",
                "percentunit",
                "The share of generation's answers with a status of 500 or more.",
                "Any that lasts, 503 says that vLLM is full or away.",
            ),
            Query(f"({rate(ANSWERS, failed)} or vector(0)) / {rate(ANSWERS, GENERATION)}"),
            rising(0.01, 0.05),
            span=3,
            height=4,
            decimals=1,
        ),
        number(
            Words(
                "First token, 95%", "s", "95% of posts began within this in vLLM.", "Above a second, requests queue."
            ),
            Query(quantile(0.95, TTFT)),
            rising(1, 5),
            span=3,
            height=4,
        ),
        number(
            Words("Answer, 95%", "s", "95% of answers were complete within this.", "Readers wait for many seconds."),
            Query(quantile(0.95, "slop_generate_seconds")),
            rising(5, 15),
            span=3,
            height=4,
        ),
        _figure(
            "Tokens written",
            TOKENS_PER_S,
            rate("vllm:generation_tokens_total"),
            colours.ENGINE,
            "Tokens that vLLM writes a second.",
            "It stays flat while requests wait.",
        ),
        number(
            Words("Waiting in vLLM", "short", "Requests that wait for a place in vLLM's batch.", "It stays above 0."),
            Query("sum(vllm:num_requests_waiting)"),
            rising(8, 32),
            span=3,
            height=4,
        ),
        number(
            Words(
                "Prefix cache hits",
                "percentunit",
                "The share of prompt tokens that vLLM had computed before.",
                "It falls to 0, since soft prompts are shared by readers.",
            ),
            Query(f"{rate('vllm:prefix_cache_hits_total')} / {rate('vllm:prefix_cache_queries_total')}"),
            plain(colours.ENGINE),
            span=3,
            height=4,
            decimals=0,
        ),
        personal_posts(),
    ]


def generation() -> list[AnyPanel]:
    """What readers see."""
    return [*_answers(), *_feed(), *_writing()]


def _answers() -> list[AnyPanel]:
    """How many answers there are, and how long they take."""
    return [
        lines(
            Words("Answers by route and status", PER_S, "Answers a second.", "Statuses of 429 or 500 and more."),
            Query(rate(ANSWERS, GENERATION, "route, status"), "{{route}} {{status}}"),
            span=8,
            height=8,
            stacked=True,
        ),
        lines(
            Words(
                "Time to the whole answer",
                "s",
                "From a request to its last token.",
                "Both lines rise with the load, since vLLM is full.",
            ),
            *within("slop_generate_seconds"),
            span=8,
            height=8,
        ),
        lines(
            Words(
                "Time to rank",
                "s",
                "From a rank request to its scores, without the engine.",
                "Above a tenth of a second, posts without features are computed.",
            ),
            *within("slop_rank_seconds"),
            span=8,
            height=8,
        ),
    ]


def _feed() -> list[AnyPanel]:
    """Posts of the feed, written ahead or live."""
    return [
        lines(
            Words(
                "Time to posts of the feed, 95%",
                "s",
                "From a request for posts of the feed to its answer: all written ahead, or some live.",
                "Most answers are live: the queues are not filled in time.",
            ),
            Query(quantile(0.95, "slop_feed_seconds", 'source="queue"'), "written ahead", colours.USUAL),
            Query(quantile(0.95, "slop_feed_seconds", 'source="live"'), "live", colours.SLOW),
            span=8,
            height=8,
        ),
        lines(
            Words(
                "Posts of the feed by source",
                PER_S,
                "Posts of the feed a second.",
                "Live ones, but for readers who have just come.",
            ),
            Query(rate("slop_feed_posts_total", by="source"), "{{source}}"),
            span=8,
            height=8,
            stacked=True,
        ),
        lines(
            Words(
                "Queues of the feed",
                "short",
                "Readers who asked for posts of the feed within a quarter of an hour, and those whose queue is low.",
                "Most of them are low: give the queues more tokens.",
            ),
            Query("max(slop_feed_active_readers)", "active readers", colours.GENERATION),
            Query("max(slop_feed_low_queues)", "low queues", colours.SLOW),
            span=8,
            height=8,
        ),
    ]


def _writing() -> list[AnyPanel]:
    """What is written, and what is refused."""
    return [
        lines(
            Words(
                "Posts by why they are personal or not",
                PER_S,
                "Posts a second by reason.",
                "Unsafe_profile (the guard refused a profile) and redis_unavailable.",
            ),
            Query(rate("slop_generated_posts_total", by="reason"), "{{reason}}"),
            span=8,
            height=8,
            stacked=True,
            colours=colours.REASONS,
        ),
        lines(
            Words(
                "Row norms of soft prompts",
                "short",
                "The largest row norm of each soft prompt that is sent.",
                "It leaves the range of the basis, 2 to 5, as a damaged prompt would.",
            ),
            Query(quantile(0.5, "slop_soft_prompt_row_norm"), "half below", colours.USUAL),
            Query(quantile(0.99, "slop_soft_prompt_row_norm"), "99% below", colours.SLOW),
            span=8,
            height=8,
        ),
        lines(
            Words(
                "Written posts on their way to Kafka",
                "short",
                "Posts that Kafka has not acknowledged, and posts lost to the loop for good in a minute.",
                "The first grows, or any of the second.",
            ),
            Query("sum(slop_publishing_posts)", "on their way", colours.GENERATION),
            Query("sum(increase(slop_unpublished_posts_total[1m]))", "lost in a minute", colours.RED),
            span=8,
            height=8,
        ),
        lines(
            Words(
                "Requests refused, and callers gone",
                PER_S,
                "Requests to write that were refused, by reason, and those whose caller left before the answer.",
                "Many callers leave: answers are too slow for them. Much of `caller`: somebody asks for too much.",
            ),
            Query(rate("slop_refused_requests_total", by="reason"), "{{reason}}"),
            Query(rate("slop_callers_gone_total"), "callers gone", colours.AMBER),
            span=8,
            height=8,
            colours=colours.OUTCOMES,
        ),
    ]


def engine() -> list[AnyPanel]:
    """What the engine does."""
    return [*_times(), *_load()]


def _times() -> list[AnyPanel]:
    """How long requests take in vLLM."""
    return [
        lines(
            Words(
                "Time to the first token",
                "s",
                "From vLLM's receipt of a request to its first token.",
                "It rises, since requests wait for their turn.",
            ),
            *within(TTFT),
            span=8,
            height=8,
        ),
        lines(
            Words(
                "Time between tokens",
                "s",
                "Between two tokens of one post.",
                "Above a tenth of a second, slower than people read.",
            ),
            *within(BETWEEN),
            span=8,
            height=8,
        ),
        lines(
            Words(
                "Where a request's time goes",
                "s",
                "The mean seconds of a request in vLLM's queue, reading the prompt, and writing.",
                "The queue's part grows.",
            ),
            Query(mean("vllm:request_queue_time_seconds"), "in the queue", colours.RED),
            Query(mean("vllm:request_prefill_time_seconds"), "reading", colours.COLLECTOR),
            Query(mean("vllm:request_decode_time_seconds"), "writing", colours.ENGINE),
            span=8,
            height=8,
            stacked=True,
        ),
    ]


def _load() -> list[AnyPanel]:
    """How much vLLM has to do, and by which engines it is done."""
    return [
        lines(
            Words(
                "Tokens",
                TOKENS_PER_S,
                "Tokens a second, read (prompts) and written.",
                "The written ones stay flat while requests wait.",
            ),
            Query(rate("vllm:prompt_tokens_total"), "read", colours.COLLECTOR),
            Query(rate("vllm:generation_tokens_total"), "written", colours.ENGINE),
            span=8,
            height=8,
        ),
        lines(
            Words(
                "Requests in vLLM",
                "short",
                "Requests in vLLM's batch, and those that wait for a place.",
                "Some wait all the time.",
            ),
            Query("sum(vllm:num_requests_running)", "running", colours.ENGINE),
            Query("sum(vllm:num_requests_waiting)", "waiting", colours.RED),
            span=8,
            height=8,
            stacked=True,
        ),
        lines(
            Words(
                "KV cache",
                "percentunit",
                "The share of the KV cache in use, and of prompt tokens found in it.",
                "Use at 100%, since requests are put off.",
            ),
            Query("max(vllm:kv_cache_usage_perc)", "in use", colours.ENGINE),
            Query(
                f"{rate('vllm:prefix_cache_hits_total')} / {rate('vllm:prefix_cache_queries_total')}",
                "prompt found",
                colours.LEARNER,
            ),
            span=8,
            height=8,
            top=1,
        ),
        lines(
            Words(
                "Requests at each engine",
                "short",
                "Requests that wait for tokens, by engine, and requests that each engine failed in a minute.",
                "Any failures: the readers of that engine are at another one until it writes again.",
            ),
            Query("sum by (engine) (slop_engine_requests)", "{{engine}}"),
            Query("sum by (engine) (increase(slop_engine_failures_total[1m]))", "failed by {{engine}} in a minute"),
            span=12,
            height=8,
        ),
        lines(
            Words(
                "Engines that write",
                "short",
                "1 while an engine writes and takes the soft prompts.",
                "0: it hangs, is away or has another model; /readyz of generation says which.",
            ),
            Query("min by (engine) (slop_engine_up)", "{{engine}}"),
            span=12,
            height=8,
            top=1,
        ),
    ]


def _figure(title: str, unit: str, expr: str, colour: str, tells: str, bad: str) -> AnyPanel:
    words = Words(title, unit, tells, bad)
    return number(words, Query(expr), plain(colour), span=3, height=4, decimals=0, sparkline=True)

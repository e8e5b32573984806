"""The application: what it is made of, and how long each part lives."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI

from generation import metrics
from generation.api import generation_router
from generation.callers import Allowance, CallerLimit
from generation.choosing import Chooser
from generation.copy_filter import CopyFilter
from generation.engine import EngineClient
from generation.engine_connection import EngineConnection
from generation.engine_pool import EnginePool
from generation.experiment_guard import ExperimentGuard
from generation.features import FeaturizerClient
from generation.feed import Feed
from generation.openai.errors import OpenAIErrors
from generation.openai.routes import openai_router
from generation.post_publishing import PostPublisher
from generation.profiles import ProfileDescriber
from generation.prompt_picking import PromptPicker, style_subject_of
from generation.ranking import Ranker
from generation.reader_state import Crowd, LikedTexts, ReaderStates
from generation.request_limit import RequestLimit
from generation.served import RecentlyServed
from generation.serving import BasisSwitch, Serving
from generation.settings import Settings
from generation.upstreams import UpstreamClient, Upstreams
from generation.writing import Writer, WritingLimits
from kit.body_guard import BodyGuard
from kit.health import Check, health_router
from kit.problems import install_problems
from kit.request_metrics import observe_requests
from kit.serving import documented_app
from slop.basis import InvalidBasis
from slop.copies import KnownPosts
from slop.experiments import ArmAssigner
from slop.kafka.publisher import Publisher, PublisherLimits
from slop.redis.client import pooled_client, redis_client
from slop.redis.feed_queue import FeedReader
from slop.redis.posts import RankedPosts
from slop.redis.profiles import ProfileReader
from slop.redis.served import Remembered, ServedTexts
from slop.redis.writable import require_writable_async
from slop.rollout.live import BasisRef, LiveBases, groups_of
from slop.soft_prompts import UnsafeSoftPrompt


def create_app(settings: Settings) -> FastAPI:
    """The generation service, whose connections live as long as the application runs.

    Raises:
        InvalidBasis: the configured basis can't be used.
        InvalidExperiment: an experiment can't be used.
    """
    configured = BasisRef.of(settings.basis_dir)
    assigner = settings.arm_assigner()
    redis = pooled_client(settings.redis_url, settings.redis_timeout_s, settings.generation_redis_connections)
    engines, upstreams = engines_of(settings), upstreams_of(settings)
    featurizer = FeaturizerClient(settings.featurizer_url, settings.generation_features_timeout_s)
    publisher = Publisher(settings.kafka_bootstrap, "slop-generation", PublisherLimits(settings.generation_queue_bytes))
    metrics.watch(publisher)

    limits = limits_of(settings)
    post_publisher = PostPublisher(settings.tenant, publisher, redis, settings.redis_timeout_s)
    served = RecentlyServed(
        settings.tenant,
        ServedTexts(redis, Remembered(settings.generation_served_posts, settings.generation_served_ttl_s)),
        settings.redis_timeout_s,
    )
    rng = np.random.default_rng()

    def serving_of(ref: BasisRef) -> Serving:
        basis = ref.load()
        reader = ProfileReader(redis, basis, settings.tenant)
        liked = LikedTexts(redis, settings.tenant, settings.generation_history_posts)
        crowd = Crowd(redis, settings.tenant, basis)
        readers = ReaderStates(reader, liked, crowd, assigner, settings.redis_timeout_s)
        posts = RankedPosts(redis, basis, settings.tenant)
        try:
            picker = PromptPicker(basis, settings, rng, style_subject_of(ref, basis, settings))
        except UnsafeSoftPrompt as error:
            raise InvalidBasis(f"a prompt must not reach the engine: {error}") from error
        copies = CopyFilter(
            KnownPosts.beside(Path(ref.folder)), settings.generation_rewrites, settings.generation_stream_held_words
        )
        return Serving(
            version=basis.version,
            writer=Writer(
                readers,
                picker,
                engines,
                limits,
                post_publisher,
                copies,
                upstreams,
                served,
                Chooser(basis, featurizer, settings.generation_diversity, settings.generation_choosing_timeout_s),
            ),
            ranker=Ranker(basis, readers, posts, featurizer, settings.redis_timeout_s),
            describer=ProfileDescriber(basis, readers, settings.prior_variance),
            groups=groups_of(basis, configured.version, settings),
            probe=picker.probe(),
        )

    guard = ExperimentGuard(redis, assigner)
    blocking_redis = redis_client(settings.redis_url, settings.redis_timeout_s)  # following blocks, in a thread
    switch = BasisSwitch(LiveBases(blocking_redis, configured), serving_of)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            publisher.start()
            stack.callback(blocking_redis.close)
            await switch.step()
            await guard.step()
            stack.push_async_callback(asyncio.to_thread, publisher.close)
            stack.push_async_callback(redis.aclose)
            stack.push_async_callback(featurizer.close)
            stack.push_async_callback(engines.close)
            stack.push_async_callback(upstreams.close)
            await stack.enter_async_context(_at_work(switch.run(settings.follow_s)))
            await stack.enter_async_context(_at_work(guard.run(settings.follow_s)))
            await stack.enter_async_context(_at_work(engines.watch(lambda: switch.serving.probe)))
            yield

    app = documented_app(
        title="SLOP generation",
        summary="Posts in a reader's taste, from a frozen language model and the reader's profile.",
        version=_version(),
        lifespan=lifespan,
    )
    install_problems(app)
    app.add_middleware(
        BodyGuard, max_bytes=settings.generation_body_bytes, timeout_s=settings.generation_body_timeout_s
    )
    app.add_middleware(OpenAIErrors)
    app.include_router(generation_router(switch, Feed(FeedReader(redis, settings.tenant), settings.redis_timeout_s)))
    app.include_router(openai_router(switch, engines, settings.generation_chat_max_tokens))
    app.include_router(
        health_router(
            {"engine": engines.check, **_checks_of_arms(assigner, guard, upstreams)},
            degradable={
                "redis": partial(require_writable_async, redis, "generation"),  # posts' texts are handed on through it
                "kafka": publisher.check,
                **engine_checks(engines),
                **{f"upstream of {arm}": client.check for arm, client in upstreams.clients.items()},
            },
        )
    )
    observe_requests(app)
    return app


@asynccontextmanager
async def _at_work(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Have a coroutine run until the block ends, then cancel it."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _checks_of_arms(assigner: ArmAssigner, guard: ExperimentGuard, upstreams: Upstreams) -> dict[str, Check]:
    """What readiness depends on for the sake of arms."""

    async def upstreams_answer() -> None:
        await upstreams.check(assigner.arms_now)

    checks: dict[str, Check] = {"upstreams": upstreams_answer} if upstreams.clients else {}
    return checks | ({"experiments": guard.check} if assigner.experiments else {})


def engines_of(settings: Settings) -> EnginePool:
    """The engines that the settings name."""
    return EnginePool(
        [
            EngineClient(
                EngineConnection(
                    url,
                    settings.engine_model_name,
                    connect_timeout_s=settings.engine_connect_timeout_s,
                    timeout_s=settings.engine_timeout_s,
                    connections=settings.engine_connections,
                ),
                settings.engine_silent_s,
            )
            for url in settings.engine_urls
        ]
    )


def engine_checks(engines: EnginePool) -> dict[str, Check]:
    """Checks of each of several engines: generation works without any one of them."""
    if len(engines.engines) == 1:
        return {}
    return {f"engine {name}": partial(engines.check_engine, name) for name in engines.engines}


def upstreams_of(settings: Settings) -> Upstreams:
    """Clients of the upstreams that the settings name, but for those that are the engine."""
    upstreams = {
        arm: upstream
        for arm, upstream in settings.arm_upstreams.items()
        if upstream.url.rstrip("/") not in settings.engine_urls or upstream.model is not None
    }
    clients = {
        arm: UpstreamClient(
            arm,
            upstream,
            connect_timeout_s=settings.engine_connect_timeout_s,
            timeout_s=settings.engine_timeout_s,
            connections=settings.engine_connections,
        )
        for arm, upstream in upstreams.items()
    }
    return Upstreams(clients, {arm: _turns_of(settings) for arm in clients})


def _turns_of(settings: Settings) -> RequestLimit:
    return RequestLimit(
        settings.generation_max_concurrency, settings.generation_max_waiting, settings.generation_max_wait_s
    )


def limits_of(settings: Settings) -> WritingLimits:
    """How long requests may take and how much callers may ask for, as the settings say."""
    return WritingLimits(
        deadline_s=settings.generation_deadline_s,
        publishing_s=settings.redis_timeout_s,
        turns=_turns_of(settings),
        callers=CallerLimit(
            reader=Allowance(settings.generation_reader_requests, settings.generation_reader_tokens),
            key=Allowance(settings.generation_key_requests, settings.generation_key_tokens),
            address=Allowance(settings.generation_address_requests, settings.generation_address_tokens),
        ),
    )


def _version() -> str:
    try:
        return version("slop")
    except PackageNotFoundError:  # run from the source tree
        return "0"

"""`RankingService`: convert in, ask the engine, convert out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import grpc

from recsys.config import ServingConfig
from recsys.errors import DeadlineError
from recsys.pipeline.requests import UNHURRIED, Haste
from recsys.serving.admission import Crowd, Gate, answer_by
from recsys.serving.clock import Clock
from recsys.serving.observer import Observer
from recsys.serving.ranking_messages import (
    rank_query_of,
    rank_response,
    recommend_query_of,
    recommend_response,
)
from recsys.serving.shadow import Shadow
from recsys.serving.status import status_of, violations_of
from recsys.serving.switch import EngineSwitch
from recsys.v1 import ranking_pb2, ranking_pb2_grpc

#: What refusals and metrics call this work.
RANK: Final = "rank"


class RankingService(ranking_pb2_grpc.RankingServiceServicer):
    """Ranks for as many callers as the machine can serve; the others were refused at the door.

    Args:
        switch: Holds the engine.
        clock: Gives every request its instant.
        config: How many calls are at work at once.
        observer: Hears how requests are answered.
        crowd: Says when answers are to be cheaper.
        shadow: Answers some requests again; None: there is none.
    """

    def __init__(
        self,
        switch: EngineSwitch,
        clock: Clock,
        config: ServingConfig,
        *,
        observer: Observer,
        crowd: Crowd,
        shadow: Shadow | None = None,
    ) -> None:
        self._switch = switch
        self._shadow = shadow
        self._clock = clock
        self._observer = observer
        self._crowd = crowd
        self._gate = Gate(RANK, running=config.threads, observer=observer)

    def Rank(  # noqa: N802 - the name of the RPC
        self, request: ranking_pb2.RankRequest, context: grpc.ServicerContext
    ) -> ranking_pb2.RankResponse:
        """Order candidates.

        Returns:
            The ranked list.
        """
        with self._gate.turn(context):
            return self._rank(request, context)

    def Recommend(  # noqa: N802 - the name of the RPC
        self, request: ranking_pb2.RecommendRequest, context: grpc.ServicerContext
    ) -> ranking_pb2.RecommendResponse:
        """Find candidates and order them.

        Returns:
            The ranked list.
        """
        with self._gate.turn(context):
            query = recommend_query_of(request, self._clock.now_us(), self._haste(context))
            engine = self._switch.engine_for(query.user_id)
            return recommend_response(engine.recommend(query, self._observer))

    def RankStream(  # noqa: N802 - the name of the RPC
        self,
        request_iterator: Iterator[ranking_pb2.RankStreamRequest],
        context: grpc.ServicerContext,
    ) -> Iterator[ranking_pb2.RankStreamResponse]:
        """Answer requests one after another, bad ones by an error of their own.

        Yields:
            One answer per request, in their order.
        """
        for message in request_iterator:
            yield self._answer(message.request, context)

    def _answer(
        self, request: ranking_pb2.RankRequest, context: grpc.ServicerContext
    ) -> ranking_pb2.RankStreamResponse:
        try:
            # Streams are few, so their requests wait for a turn and are never refused one.
            with self._gate.turn(context):
                return ranking_pb2.RankStreamResponse(response=self._rank(request, context))
        except DeadlineError:
            raise
        except Exception as error:  # noqa: BLE001 - one request's fault, told by the same table
            return ranking_pb2.RankStreamResponse(error=_rank_error(request.request_id, error))

    def _rank(
        self, request: ranking_pb2.RankRequest, context: grpc.ServicerContext
    ) -> ranking_pb2.RankResponse:
        query = rank_query_of(request, self._clock.now_us(), self._haste(context))
        ranked = self._switch.engine_for(query.user_id).rank(query, self._observer)
        if self._shadow is not None:
            self._shadow.offer(replace(query, haste=UNHURRIED), ranked)
        return rank_response(ranked)

    def _haste(self, context: grpc.ServicerContext) -> Haste:
        return Haste(answer_by(context), others_wait=self._crowd.is_there)


def _rank_error(request_id: str, error: Exception) -> ranking_pb2.RankError:
    status = status_of(error)
    violations = [
        ranking_pb2.FieldViolation(field=field, description=description)
        for field, description in violations_of(error)
    ]
    return ranking_pb2.RankError(
        request_id=request_id, code=status.code, message=status.message, violations=violations
    )

"""Requests to rank and their answers, between their messages and the domain."""

from __future__ import annotations

from typing import Any

from recsys.errors import EventError, RequestError
from recsys.pipeline.given import CandidateAttribute
from recsys.pipeline.requests import (
    UNHURRIED,
    Contribution,
    Explanation,
    Haste,
    RankedList,
    RankQuery,
    RecommendQuery,
)
from recsys.schema import Attributes
from recsys.serving.attributes import attributes_of
from recsys.v1 import ranking_pb2


def rank_query_of(
    request: ranking_pb2.RankRequest, as_of: int, haste: Haste = UNHURRIED
) -> RankQuery:
    """Read a request to rank; its values are left to `check_rank`.

    Args:
        request: As it came.
        as_of: Its instant by the server's clock.
        haste: What may be left out.

    Returns:
        The query.
    """
    return RankQuery(
        user_id=request.user_id,
        item_ids=list(request.item_ids),
        as_of=as_of,
        request_id=request.request_id,
        context=_context_of(request),
        top_k=request.top_k,
        explain_top_k=request.explain_top_k,
        exclude_item_ids=list(request.exclude_item_ids),
        session_id=request.session_id,
        candidate_attributes=_given_of(request),
        seed_item_ids=list(request.seed_item_ids),
        haste=haste,
    )


def recommend_query_of(
    request: ranking_pb2.RecommendRequest, as_of: int, haste: Haste = UNHURRIED
) -> RecommendQuery:
    """Read a request to recommend; its values are left to `check_recommend`.

    Args:
        request: As it came.
        as_of: Its instant by the server's clock.
        haste: What may be left out.

    Returns:
        The query.
    """
    return RecommendQuery(
        user_id=request.user_id,
        as_of=as_of,
        request_id=request.request_id,
        context=_context_of(request),
        top_k=request.top_k,
        explain_top_k=request.explain_top_k,
        exclude_item_ids=list(request.exclude_item_ids),
        session_id=request.session_id,
        candidate_attributes=_given_of(request),
        seed_item_ids=list(request.seed_item_ids),
        haste=haste,
    )


def rank_response(ranked: RankedList) -> ranking_pb2.RankResponse:
    """Write the answer to a request to rank.

    Returns:
        Its message.
    """
    return ranking_pb2.RankResponse(**_fields(ranked))


def recommend_response(ranked: RankedList) -> ranking_pb2.RecommendResponse:
    """Write the answer to a request to recommend.

    Returns:
        Its message.
    """
    return ranking_pb2.RecommendResponse(**_fields(ranked))


def ranked_list_of(
    response: ranking_pb2.RankResponse | ranking_pb2.RecommendResponse,
) -> RankedList:
    """Read an answer.

    Returns:
        The ranked list; scores have the precision of the wire, 32 bits.
    """
    return RankedList(
        request_id=response.request_id,
        model_version=response.model_version,
        item_ids=list(response.item_ids),
        scores=list(response.scores),
        explanations=[_explanation_of(found) for found in response.explanations],
        warnings=list(response.warnings),
    )


def _context_of(request: ranking_pb2.RankRequest | ranking_pb2.RecommendRequest) -> Attributes:
    try:
        return attributes_of(request.context, "context")
    except EventError as error:
        raise RequestError([(error.field, error.reason)]) from error


def _given_of(
    request: ranking_pb2.RankRequest | ranking_pb2.RecommendRequest,
) -> list[CandidateAttribute]:
    return [
        CandidateAttribute(
            name=found.name,
            numbers=list(found.numbers),
            texts=list(found.texts),
            item_ids=list(found.item_ids),
        )
        for found in request.candidate_attributes
    ]


def _fields(ranked: RankedList) -> dict[str, Any]:
    return {
        "request_id": ranked.request_id,
        "model_version": ranked.model_version,
        "item_ids": ranked.item_ids,
        "scores": ranked.scores,
        "explanations": [_explanation_message(found) for found in ranked.explanations],
        "warnings": ranked.warnings,
    }


def _explanation_message(found: Explanation) -> ranking_pb2.Explanation:
    parts = [
        ranking_pb2.Contribution(
            feature=part.feature, value=part.value, contribution=part.contribution
        )
        for part in found.contributions
    ]
    return ranking_pb2.Explanation(item_id=found.item_id, base=found.base, contributions=parts)


def _explanation_of(found: ranking_pb2.Explanation) -> Explanation:
    parts = [
        Contribution(feature=part.feature, value=part.value, contribution=part.contribution)
        for part in found.contributions
    ]
    return Explanation(item_id=found.item_id, base=found.base, contributions=parts)

"""`ModelService`: which bundle ranks, which others there are, and how to change it."""

from __future__ import annotations

import grpc

from recsys.bundle.store import BundleInfo
from recsys.errors import RequestError
from recsys.serving.admission import Gate
from recsys.serving.observer import Observer
from recsys.serving.switch import EngineSwitch
from recsys.v1 import model_pb2, model_pb2_grpc


class ModelService(model_pb2_grpc.ModelServiceServicer):
    """Shows and exchanges the bundle that ranks; one exchange at a time.

    Args:
        switch: Holds the engine.
        observer: Hears of callers whose deadline passed while others exchanged.
    """

    def __init__(self, switch: EngineSwitch, observer: Observer) -> None:
        self._switch = switch
        self._gate = Gate("switch models", running=1, observer=observer)

    def GetActiveModel(  # noqa: N802 - the name of the RPC
        self, request: model_pb2.GetActiveModelRequest, context: grpc.ServicerContext
    ) -> model_pb2.GetActiveModelResponse:
        """Describe the bundle that ranks now.

        Returns:
            Its description.
        """
        del request, context
        return model_pb2.GetActiveModelResponse(model=self._active())

    def ListModels(  # noqa: N802 - the name of the RPC
        self, request: model_pb2.ListModelsRequest, context: grpc.ServicerContext
    ) -> model_pb2.ListModelsResponse:
        """List all bundles.

        Returns:
            Oldest first.
        """
        del request, context
        return model_pb2.ListModelsResponse(models=self._models())

    def ActivateModel(  # noqa: N802 - the name of the RPC
        self, request: model_pb2.ActivateModelRequest, context: grpc.ServicerContext
    ) -> model_pb2.ActivateModelResponse:
        """Let another bundle rank.

        Returns:
            The bundle that ranks from now on.

        Raises:
            RequestError: No version was named.
        """
        if not request.version:
            raise RequestError([("version", "is empty; expected a published version")])
        with self._gate.turn(context):
            self._switch.activate(request.version)
        return model_pb2.ActivateModelResponse(model=self._active())

    def RollBackModel(  # noqa: N802 - the name of the RPC
        self, request: model_pb2.RollBackModelRequest, context: grpc.ServicerContext
    ) -> model_pb2.RollBackModelResponse:
        """Let the bundle rank that was active before.

        Returns:
            The bundle that ranks from now on.
        """
        del request
        with self._gate.turn(context):
            self._switch.roll_back()
        return model_pb2.RollBackModelResponse(model=self._active())

    def _models(self) -> list[model_pb2.Model]:
        # What ranks here may differ from what the store has for the next start.
        serving = self._switch.engine.model_version
        return [_message(info, serving) for info in self._switch.models()]

    def _active(self) -> model_pb2.Model:
        serving = self._switch.engine.model_version
        for info in self._switch.models():
            if info.version == serving:
                return _message(info, serving)
        return model_pb2.Model(version=serving, active=True, problem="its folder is gone")


def _message(info: BundleInfo, serving: str) -> model_pb2.Model:
    message = model_pb2.Model(
        version=info.version,
        active=info.version == serving,
        metrics=info.metrics,
        problem=info.problem,
    )
    message.created_at.FromDatetime(info.created_at)
    return message

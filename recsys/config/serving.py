"""Table `[serving]`: the gRPC server."""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, PlainValidator, TypeAdapter, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from recsys.config.section import Section


def _auto_or_switch(value: object) -> bool | Literal["auto"]:
    if value == "auto":
        return "auto"
    try:
        return TypeAdapter(bool).validate_python(value)
    except ValidationError:
        # A union would tell of each of its types, under keys that nobody wrote.
        raise PydanticCustomError("auto", "expected true, false or 'auto'") from None


#: A switch that may be left to recsys.
AutoOrSwitch: TypeAlias = Annotated[bool | Literal["auto"], PlainValidator(_auto_or_switch)]


class VariantConfig(Section):
    """A bundle that answers a share of the users."""

    version: str
    share: float = Field(gt=0, le=1)


class TlsConfig(Section):
    """Certificates of the server, in PEM files; read again when they change."""

    certificate: str = Field(default="", description="chain of the server, relative to here")
    key: str = Field(default="", description="of the certificate")
    client_ca: str = Field(
        default="", description="mutual TLS: callers must show a certificate of this authority"
    )

    @model_validator(mode="after")
    def _check_whole(self) -> Self:
        if bool(self.certificate) != bool(self.key) or (self.client_ca and not self.certificate):
            raise PydanticCustomError("tls", "certificate and key belong together")
        return self


class MetricsConfig(Section):
    """The HTTP port for operators: Prometheus metrics, liveness and readiness."""

    enabled: bool = True
    host: str = "127.0.0.1"
    port: int = Field(default=9090, ge=0, le=65535)


class ServingConfig(Section):
    """The gRPC server."""

    workers: int = Field(default=1, ge=1, description="processes that share the port")
    pin: AutoOrSwitch = Field(
        default="auto",
        description="each process keeps to one core; auto: where there are as many as cores",
    )
    host: str = "127.0.0.1"
    port: int = Field(default=50051, ge=0, le=65535)
    clock: Literal["system", "log"] = Field(
        default="system", description="log: time continues from the log's last event"
    )
    threads: int = Field(default=2, ge=1)
    max_in_flight: int = Field(default=16, ge=1)
    brownout: float = Field(
        default=0.5,
        gt=0,
        description="share of the places to wait from which on, when taken, answers leave out"
        " feature models; above 1: never",
    )
    group_commit_ms: float = Field(default=2.0, ge=0)
    max_streams: int = Field(
        default=8, ge=1, description="open WriteEvents and RankStream calls, each"
    )
    drain_s: float = Field(
        default=10.0, ge=0, le=86_400, description="how long a stopping server waits for calls"
    )
    feature_log_share: float = Field(
        default=0.0, ge=0, le=1, description="of the requests whose features are logged"
    )
    feature_log_mb: int = Field(
        default=256, ge=1, description="how large the feature log may grow; the oldest part goes"
    )
    variants: dict[str, VariantConfig] = Field(
        default={}, description="bundles beside the active one, by name, and their share of users"
    )
    shadow: str = Field(default="", description="version that answers requests for comparison")
    shadow_share: float = Field(default=0.1, ge=0, le=1, description="of the requests")
    metrics: MetricsConfig = MetricsConfig()
    log_calls: bool = Field(default=False, description="a line of the log for every RPC")
    traces: bool = Field(default=False, description="OpenTelemetry spans; needs recsys[otel]")
    tls: TlsConfig = TlsConfig()
    tokens_file: str = Field(
        default="", description="who may call what; empty: everybody who reaches the port"
    )
    reflection: bool = Field(default=True, description="tell generic clients what there is")
    allow_insecure: bool = Field(
        default=False, description="listen beyond this machine, without encryption"
    )

    @model_validator(mode="after")
    def _check_shares(self) -> Self:
        total = sum(variant.share for variant in self.variants.values())
        if total > 1:
            raise PydanticCustomError(
                "shares", "shares of variants add up to {total}", {"total": round(total, 6)}
            )
        return self

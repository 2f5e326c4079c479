"""One typed configuration: `recsys.toml`, overridden by variables `RECSYS_SECTION__KEY`."""

from recsys.config.interest import InterestConfig, TuningConfig
from recsys.config.learning import (
    EvaluationConfig,
    LabelsConfig,
    RankerConfig,
    SplitConfig,
)
from recsys.config.loading import (
    CONFIG_NAME,
    Config,
    did_you_mean,
    load_config,
    parse_settings,
)
from recsys.config.log import LogConfig, PluginsConfig
from recsys.config.section import Section
from recsys.config.serving import (
    AutoOrSwitch,
    MetricsConfig,
    ServingConfig,
    TlsConfig,
    VariantConfig,
)

__all__ = [
    "CONFIG_NAME",
    "AutoOrSwitch",
    "Config",
    "EvaluationConfig",
    "InterestConfig",
    "LabelsConfig",
    "LogConfig",
    "MetricsConfig",
    "PluginsConfig",
    "RankerConfig",
    "Section",
    "ServingConfig",
    "SplitConfig",
    "TlsConfig",
    "TuningConfig",
    "VariantConfig",
    "did_you_mean",
    "load_config",
    "parse_settings",
]

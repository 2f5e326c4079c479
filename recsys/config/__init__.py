"""One typed configuration: `recsys.toml`, overridden by variables `RECSYS_SECTION__KEY`."""

from recsys.config.interest import InterestConfig, TuningConfig
from recsys.config.learning import (
    EvaluationConfig,
    LabelsConfig,
    RankerConfig,
    SplitConfig,
)
from recsys.config.loading import CONFIG_NAME, Config, load_config, parse_settings
from recsys.config.log import LogConfig, PluginsConfig
from recsys.config.section import Section
from recsys.config.serving import MetricsConfig, ServingConfig, TlsConfig, VariantConfig

__all__ = [
    "CONFIG_NAME",
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
    "load_config",
    "parse_settings",
]

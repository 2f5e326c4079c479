from recsys_weekday import plugin

from recsys.testing.contracts import PluginContract


class TestWeekday(PluginContract):
    plugin = plugin

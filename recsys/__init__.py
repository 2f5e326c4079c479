"""recsys: behaviour logs become ranked lists, with a text model that knows what people read."""

__version__ = "0.1.0"

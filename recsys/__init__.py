"""recsys: a behaviour log becomes ranked lists, with a text model that knows what people were reading."""

__version__ = "0.1.0"

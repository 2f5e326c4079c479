"""Importers: MovieLens (CSV, with overviews where there are any) and MovieTweetings (`::`).

Both are ratings of films; a rating is an interaction of type `rating` with the stars as its value.
Films have no time: one is known from 1 January of the year in its title on, or from the first
rating of the file beside, whichever is later.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from recsys.errors import EventError
from recsys.events.formats import EventImporter
from recsys.events.readers import CsvRecords, LineRecords, Said, csv_rows, first_line
from recsys.events.sources import RecordReader, TextFile
from recsys.hookspecs import hookimpl
from recsys.schema import MICROSECONDS, Attributes, InteractionEvent, ItemEvent

_YEAR: Final = re.compile(r"(.*?)\s*\((\d{4})(?:[-\u2013]\d{0,4})?\)\s*$")
#: Films of IMDb, whose numbers have seven digits or more; the `::` files of MovieLens have fewer.
_TWEETED_RATING: Final = re.compile(r"\d+::\d{7,}::\d{1,2}::\d{9,11}$")
_TWEETED_FILM: Final = re.compile(r"\d{7,}::.*::.*$")
_RATINGS: Final = "userId,movieId,rating,timestamp"
_MOVIES: Final = "movieId,title,genres"
#: What `genres` says of a film without any.
_NO_GENRES: Final = "(no genres listed)"


class MovieLensImporter:
    """`ratings.csv` and `movies.csv`, with plots of `overviews.csv` or `movies_metadata.csv`."""

    name = "movielens"
    description = "ratings.csv and movies.csv of MovieLens"

    def recognises(self, path: Path) -> bool:
        """Look at the header."""
        return first_line(path).strip() in {_RATINGS, _MOVIES}

    def reader(self, path: Path) -> RecordReader:
        """Read one of the two files."""
        if first_line(path).strip() == _RATINGS:
            return CsvRecords(path, _movielens_rating)
        start = _earliest(path, "movies", b",")
        return CsvRecords(path, _MovieLensFilms(start, _overviews(path.parent)))


class MovieTweetingsImporter:
    """`ratings.dat` and `movies.dat`."""

    name = "movietweetings"
    description = "ratings.dat and movies.dat of MovieTweetings"

    def recognises(self, path: Path) -> bool:
        """Look at the first line."""
        line = first_line(path)
        return bool(_TWEETED_RATING.match(line) or _TWEETED_FILM.match(line))

    def reader(self, path: Path) -> RecordReader:
        """Read one of the two files."""
        if _TWEETED_RATING.match(first_line(path)):
            return LineRecords(path, _tweeted_rating)
        return LineRecords(path, _tweeted_film(_earliest(path, "movies", b"::")))


def _movielens_rating(row: dict[str, Any]) -> Said:
    cells = (row["userId"], row["movieId"], row["rating"], row["timestamp"])
    yield _rating(*cells)


def _tweeted_rating(line: str) -> Said:
    cells = line.split("::")
    if len(cells) != 4:
        raise EventError(reason=f"has {len(cells)} parts; expected user::item::rating::time")
    yield _rating(*cells)


def _rating(user_id: str, item_id: str, stars: str, time: str) -> InteractionEvent:
    try:
        value, seconds = float(stars), int(time)
    except ValueError as error:
        raise EventError(reason="has a rating or a time that is no number") from error
    return InteractionEvent(
        event_id=f"{user_id}-{item_id}-{seconds}",
        occurred_at=seconds * MICROSECONDS,
        user_id=user_id,
        item_id=item_id,
        type="rating",
        value=value,
    )


class _MovieLensFilms:
    """Reads rows of `movies.csv`.

    Args:
        start: First rating, in microseconds.
        overviews: Plot by movie id.
    """

    def __init__(self, start: int, overviews: dict[str, str]) -> None:
        self._start = start
        self._overviews = overviews

    def __call__(self, row: dict[str, Any]) -> Said:
        item_id = row["movieId"]
        cells = (item_id, row["title"], row["genres"])
        yield _film(cells, self._start, self._overviews.get(item_id, ""))


def _tweeted_film(start: int) -> Callable[[str], Said]:
    def read(line: str) -> Said:
        cells = line.split("::")
        if len(cells) != 3:
            raise EventError(reason=f"has {len(cells)} parts; expected item::title (year)::genres")
        yield _film(cells, start)

    return read


def _film(cells: Sequence[str], start: int, overview: str = "") -> ItemEvent:
    item_id, title, genres = cells
    attributes: Attributes = {"title": title}
    found = _YEAR.match(title)
    if found:
        attributes = {"title": found[1], "year": float(found[2])}
        new_year = datetime(max(int(found[2]), 1970), 1, 1, tzinfo=UTC)
        start = max(start, int(new_year.timestamp()) * MICROSECONDS)
    named = [genre for genre in genres.split("|") if genre and genre != _NO_GENRES]
    if named:
        attributes["genres"] = named
    if overview:
        attributes["overview"] = overview
    return ItemEvent(f"film-{item_id}", start, item_id, attributes)


def _earliest(films: Path, word: str, separator: bytes) -> int:
    """Find the first rating of the file beside one of films; 0 where there is none."""
    path = films.with_name(films.name.replace(word, "ratings"))
    earliest: int | None = None
    if path != films and path.is_file():
        for _, line in TextFile(path).lines():
            *rest, time = line.split(separator)
            if len(rest) == 3 and time.isdigit() and int(time) < (earliest or sys.maxsize):
                earliest = int(time)
    return (earliest or 0) * MICROSECONDS


def _overviews(folder: Path) -> dict[str, str]:
    """Read the plots beside `movies.csv`, by MovieLens' own id.

    `overviews.csv` has movieId and overview; `movies_metadata.csv` (The Movies Dataset) has id and
    overview, where id is TMDB's and `links.csv` says which film that is.
    """
    own = folder / "overviews.csv"
    if own.is_file():
        return {r["movieId"]: r["overview"] for r in _rows(own, "movieId", "overview")}
    metadata, links = folder / "movies_metadata.csv", folder / "links.csv"
    if not (metadata.is_file() and links.is_file()):
        return {}
    by_tmdb = {r["id"]: r["overview"] for r in _rows(metadata, "id", "overview")}
    pairs = ((r["movieId"], r["tmdbId"]) for r in _rows(links, "movieId", "tmdbId"))
    return {movie: by_tmdb[tmdb] for movie, tmdb in pairs if tmdb in by_tmdb}


def _rows(path: Path, *columns: str) -> Iterator[dict[str, Any]]:
    for row in csv_rows(TextFile(path)):
        if all(row.get(column) for column in columns):
            yield row


@hookimpl
def recsys_event_importers() -> list[EventImporter]:
    """Offer both importers."""
    return [MovieLensImporter(), MovieTweetingsImporter()]

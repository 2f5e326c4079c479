"""Importer: Online Retail of the UCI repository, invoice lines of a gift shop, as Parquet.

Cleaning rules: invoices that start with C are cancellations, lines without customer belong to
nobody, and codes such as POST, DOT or M are postage, fees and corrections, not products.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from recsys.errors import EventError
from recsys.events.formats import EventImporter
from recsys.events.readers import RowRecords, Said, parquet_columns
from recsys.events.sources import LeftOut, RecordReader
from recsys.hookspecs import hookimpl
from recsys.schema import MICROSECONDS, Attributes, InteractionEvent, ItemEvent, UserEvent

_COLUMNS: Final = (
    *("InvoiceNo", "StockCode", "Description", "Quantity"),
    *("InvoiceDate", "UnitPrice", "CustomerID", "Country"),
)
_PRODUCT: Final = re.compile(r"\d{5}[A-Za-z]{0,2}$")


class OnlineRetailImporter:
    """A line is a purchase; a product is known from its first sale on."""

    name = "online_retail"
    description = "the Parquet file of UCI Online Retail"

    def recognises(self, path: Path) -> bool:
        """Look at the columns."""
        return parquet_columns(path) >= set(_COLUMNS)

    def reader(self, path: Path) -> RecordReader:
        """Read the file."""
        return RowRecords(path, _COLUMNS, _Lines())


class _Lines:
    """Reads invoice lines, which stand together by invoice, in time order."""

    def __init__(self) -> None:
        self._titles: dict[str, str] = {}
        self._versions: Counter[str] = Counter()
        self._countries: dict[str, str] = {}
        self._invoice = ""
        self._bought: Counter[str] = Counter()

    def __call__(self, row: dict[str, Any]) -> Said:
        invoice, code = str(row["InvoiceNo"]), str(row["StockCode"])
        reason = _why_not(invoice, code, row)
        if reason:
            yield LeftOut(reason)
            return
        instant = _instant(row["InvoiceDate"])
        user_id = str(row["CustomerID"])
        yield from self._user(user_id, instant, row["Country"])
        yield from self._item(code, instant, row)
        yield InteractionEvent(
            event_id=self._event_id(invoice, code),
            occurred_at=instant,
            user_id=user_id,
            item_id=code,
            type="purchase",
            session_id=invoice,
            value=row["Quantity"] * row["UnitPrice"],
            attributes={"quantity": float(row["Quantity"])},
        )

    def _event_id(self, invoice: str, code: str) -> str:
        """Name a line by its invoice, its product, and how often that stood there before."""
        if invoice != self._invoice:
            self._invoice = invoice
            self._bought.clear()
        self._bought[code] += 1
        return f"{invoice}-{code}-{self._bought[code]}"

    def _item(self, code: str, instant: int, row: dict[str, Any]) -> Iterator[ItemEvent]:
        title = " ".join((row["Description"] or "").split())
        if title and self._titles.get(code) != title:
            self._titles[code] = title
            self._versions[code] += 1
            # The price is that of this sale; later changes follow quantities, not the product.
            attributes: Attributes = {"title": title, "price": float(row["UnitPrice"])}
            yield ItemEvent(f"{code}-{self._versions[code]}", instant, code, attributes)

    def _user(self, user_id: str, instant: int, country: str | None) -> Iterator[UserEvent]:
        if country and self._countries.get(user_id) != country:
            self._countries[user_id] = country
            yield UserEvent(f"{user_id}-{instant}", instant, user_id, {"country": country})


def _why_not(invoice: str, code: str, row: dict[str, Any]) -> str:
    if invoice.startswith(("C", "c")):
        return "a cancelled invoice"
    if row["CustomerID"] is None:
        return "no customer"
    if not _PRODUCT.match(code):
        return "a code that is no product"
    if row["Quantity"] is None or row["UnitPrice"] is None:
        raise EventError(reason="has no quantity or no price")
    return "nothing sold" if row["Quantity"] <= 0 else ""


def _instant(value: object) -> int:
    """Read the time of an invoice, which has no zone, as UTC.

    Raises:
        EventError: It is no timestamp.
    """
    if not isinstance(value, datetime):
        raise EventError(field="InvoiceDate", reason="is no timestamp")
    moment = value if value.tzinfo else value.replace(tzinfo=UTC)
    return round(moment.timestamp() * MICROSECONDS)


@hookimpl
def recsys_event_importers() -> list[EventImporter]:
    """Offer the importer."""
    return [OnlineRetailImporter()]

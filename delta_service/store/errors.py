"""What the delta store refuses, as types a caller can tell apart."""

from __future__ import annotations


class StoreError(Exception):
    """Base of everything the delta store raises on purpose."""


class StoreUnavailableError(StoreError):
    """There is no store at the location yet."""


class StoreUnreachableError(StoreUnavailableError):
    """There may be a store, but it cannot be read or written at present; trying again may help."""


class StoreForbiddenError(StoreUnreachableError):
    """There is a store, but this user may not read it, or not write where it is."""


class StoreReadOnlyError(StoreUnreachableError):
    """The store is on a read-only file system; SQLite must write beside it even to read."""


class StoreDiskFullError(StoreUnreachableError):
    """The store's disk is full. Nothing was written."""


class StoreDamagedError(StoreUnavailableError):
    """The store is damaged, or of another version of this program; a full copy replaces it."""


class StoreIdentityError(StoreError):
    """The store belongs to another history (or serves other objects); only a full copy may change that."""


class StaleSeqError(StoreError):
    """The publication does not follow the one the store has: somebody else was first, or one is missing."""


class StaleWriterError(StaleSeqError):
    """A newer writer has taken over; this one must not write any more."""


class ChangeSetError(StoreError):
    """A change set (or full copy) contradicts the store or itself. Nothing was written; a full copy heals the store."""


class HistoryExpiredError(StoreError):
    """The publication asked about lies before the horizon."""


class PageExpiredError(StoreError):
    """The bodies of the publication a page was fixed to are no longer kept, or row keys were assigned anew."""

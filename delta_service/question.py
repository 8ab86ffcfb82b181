"""What a device asks, brought to one form: from which views, to which scope, and how far the answer has got."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from http import HTTPStatus
from itertools import groupby
from typing import NamedTuple
from urllib.parse import quote

from delta_service.body import Form
from delta_service.cursor import Anchor, Cursor, PageToken
from delta_service.problems import ProblemError, bad_request
from delta_service.query import DeltaQuery
from delta_service.scope import EVERYTHING, Scope, keys_of, news_seq, touched_seq
from delta_service.store.views import Position, StoreState, View


class HeldSince(NamedTuple):
    """What a device holds that knows a time only: the view at a publication or at any later one."""

    seq: int | None
    """None: the time is before the first publication."""


Held = Cursor | int | HeldSince | None
"""What a device holds, as far as it is known; None on a first sync."""


@dataclass(frozen=True, slots=True)
class Question:
    """Hashable: devices with the same question share the answer."""

    scope: Scope
    anchors: tuple[Anchor, ...]
    """The view the device holds; empty on a first sync."""
    objects: tuple[str, ...]
    """Asked about, in the store's order."""
    limit: int
    exact: bool
    """False: the device holds the view at the anchor's publication, or at any later one."""
    versions: bool
    reasons: bool
    envelope: bool
    after: Position | None = None

    @property
    def replaces(self) -> bool:
        """Whether rows not listed are to be removed: there is no earlier view."""
        return not self.anchors

    @property
    def is_plain(self) -> bool:
        """Whether it is about what changed in one scope since one publication, from the first page on."""
        if self.after is not None or len(self.anchors) != 1 or not self.exact:
            return False
        (anchor,) = self.anchors
        return anchor.scope == self.scope and anchor.objects is None

    def since(self, seq: int) -> Question:
        """The same, by a device that holds the scope's view at another publication."""
        return replace(self, anchors=(Anchor(self.scope, seq, None),))

    def anchor_of(self, name: str) -> Anchor | None:
        """The anchor that covers an object."""
        return next((anchor for anchor in self.anchors if anchor.objects is None or name in anchor.objects), None)

    def nothing_new(self, state: StoreState) -> bool:
        """Whether nothing the scope sees has changed since the anchors, by what is in memory alone."""
        return self._is_at(touched_seq(self.scope, state))

    def knows_held(self, state: StoreState) -> bool:
        """Whether, besides, the anchors were told with what is held of the scope now."""
        return self._is_at(news_seq(self.scope, state))

    def _is_at(self, seq: int) -> bool:
        """Whether the anchors are the scope's view at a publication, or a later one."""
        if self.after is not None or not self.anchors:
            return False
        anchors = (self.anchor_of(name) for name in self.objects)
        return all(anchor and anchor.scope == self.scope and anchor.seq >= seq for anchor in anchors)

    def cursor(self, now_seq: int, state: StoreState) -> str:
        """The view the device holds once it has applied the answer."""
        if self.objects == state.objects:
            return Cursor(state.epoch, (Anchor(self.scope, now_seq, None),)).encode(state.cursor_key)
        anchors = [Anchor(self.scope, now_seq, self.objects)]
        for anchor in self.anchors:
            left = tuple(name for name in anchor.objects or state.objects if name not in self.objects)
            if left:
                anchors.append(Anchor(anchor.scope, anchor.seq, left))
        return Cursor(state.epoch, tuple(anchors)).encode(state.cursor_key)

    def page_token(self, now_seq: int, after: Position, state: StoreState) -> str:
        return PageToken(
            epoch=state.epoch,
            generation=state.generation,
            now_seq=now_seq,
            after=after,
            scope=self.scope,
            anchors=self.anchors,
            objects=self.objects,
            limit=self.limit,
            exact=self.exact,
            versions=self.versions,
            reasons=self.reasons,
            envelope=self.envelope,
        ).encode(state.cursor_key)

    def form(self, state: StoreState) -> Form:
        keys = tuple(state.objects.index(name) for name in self.objects)
        return Form(self.objects, keys, self.versions, self.reasons)

    def etag(self, effective_seq: int, *form: object) -> bytes:
        """A weak validator: the answer is a function of these."""
        content = repr((self, effective_seq, form)).encode()
        return b'W/"%s"' % hashlib.blake2b(content, digest_size=12).hexdigest().encode()


def newest_named(named: Held | PageToken, state: StoreState) -> int:
    """The newest publication that a caller has seen, by what it names; 0 where it names none of this history."""
    if isinstance(named, int):
        return named
    if named is None or isinstance(named, HeldSince) or named.epoch != state.epoch:
        return 0
    return named.now_seq if isinstance(named, PageToken) else max((anchor.seq for anchor in named.anchors), default=0)


@dataclass(frozen=True, slots=True)
class Part:
    """Neighbouring objects with a common earlier view; ``filter`` is empty where these are all there are."""

    was: View
    objects: tuple[int, ...]
    filter: tuple[int, ...]
    or_later: bool
    """Whether the earlier view may also be one of a later publication."""


def parts_of(question: Question, now_seq: int, state: StoreState) -> list[Part]:
    """The question as the store answers it, in order; usually one part."""
    parts = []
    whole = question.objects == state.objects
    for anchor, names in groupby(question.objects, key=question.anchor_of):
        keys = tuple(state.objects.index(name) for name in names)
        was = View(keys_of(anchor.scope, state), anchor.seq) if anchor else View((), now_seq)
        only = () if whole and len(keys) == len(state.objects) else keys
        parts.append(Part(was, keys, only, or_later=not question.exact))
    return parts


def question_of(query: DeltaQuery, since: Held, scope: Scope, state: StoreState) -> Question:
    """From a fresh query; a time in ``since`` has been resolved. Raises the 409 and 410 problems."""
    anchors: tuple[Anchor, ...]
    if isinstance(since, Cursor):
        if since.epoch != state.epoch:
            raise cursor_epoch(scope)
        anchors = since.anchors
    else:
        seq = since.seq if isinstance(since, HeldSince) else since
        anchors = () if seq is None else (Anchor(scope, seq, None),)
    objects = query.objects or state.objects
    question = Question(
        scope=scope,
        anchors=anchors,
        objects=objects,
        limit=query.limit,
        exact=not isinstance(since, HeldSince),
        versions=query.versions,
        reasons=query.reasons,
        envelope=query.envelope,
    )
    for anchor in anchors:
        if anchor.objects is not None and set(anchor.objects).isdisjoint(objects):
            continue
        if anchor.seq > state.published_seq:
            raise cursor_ahead(scope)
        if anchor.seq < state.horizon_seq:
            raise cursor_expired(scope)
    return question


def question_of_page(page: PageToken, scope: Scope, state: StoreState) -> Question:
    """From a page token. Raises ``page-expired`` where the answer cannot go on, 400 for one of another address."""
    same_store = (page.epoch, page.generation) == (state.epoch, state.generation)
    if not same_store or not state.body_horizon_seq <= page.now_seq <= state.published_seq:
        raise page_expired("Its publication is no longer kept in full.")
    if page.scope != scope:
        if len(page.scope) == 1 and len(scope) == 1:
            raise bad_request("cursor-malformed", "This page belongs to another territory.")
        raise page_expired("The token's territories are not those it was made for.")
    return Question(
        scope=scope,
        anchors=page.anchors,
        objects=page.objects,
        limit=page.limit,
        exact=page.exact,
        versions=page.versions,
        reasons=page.reasons,
        envelope=page.envelope,
        after=page.after,
    )


def question_of_view(scope: Scope, objects: tuple[str, ...]) -> Question:
    """About a whole view, whatever the device holds."""
    return Question(
        scope=scope, anchors=(), objects=objects, limit=0, exact=True, versions=False, reasons=False, envelope=False
    )


def base_path(scope: Scope) -> str:
    """Where the recovery routes of a scope live."""
    return f"/v1/territories/{quote(scope[0], safe='')}" if len(scope) == 1 and scope != EVERYTHING else "/v1"


def _recovery_links(scope: Scope) -> dict[str, str]:
    return {"reconcile": base_path(scope) + "/reconcile", "snapshot": base_path(scope) + "/delta"}


def cursor_epoch(scope: Scope) -> ProblemError:
    detail = "The cursor is from a history that was lost; the store was built anew."
    return ProblemError(HTTPStatus.CONFLICT, "cursor-epoch", detail, action="reconcile", links=_recovery_links(scope))


def cursor_ahead(scope: Scope) -> ProblemError:
    detail = "The cursor is ahead of everything published; the store was probably restored from a backup."
    return ProblemError(HTTPStatus.CONFLICT, "cursor-ahead", detail, action="reconcile", links=_recovery_links(scope))


def cursor_expired(scope: Scope) -> ProblemError:
    detail = "The cursor is older than the history that is kept."
    return ProblemError(HTTPStatus.GONE, "cursor-expired", detail, action="reconcile", links=_recovery_links(scope))


def page_expired(why: str) -> ProblemError:
    detail = f"This page can no longer be read. {why} Ask again with your last cursor."
    return ProblemError(HTTPStatus.GONE, "page-expired", detail, action="restart")


def comparison_expired(scope: Scope) -> ProblemError:
    detail = "The view that was compared with is no longer kept in full. Compare again."
    return ProblemError(HTTPStatus.GONE, "page-expired", detail, action="reconcile", links=_recovery_links(scope))


def difference_too_large(scope: Scope, max_rows: int) -> ProblemError:
    detail = f"More than {max_rows} rows differ. Ask for some of the buckets at a time, or fetch a snapshot."
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    return ProblemError(status, "content-too-large", detail, action="snapshot", links=_recovery_links(scope))

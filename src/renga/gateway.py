"""THE path: every request, whoever sent it, goes through `Gateway.stream`, scores through `score`.

rules -> limits -> ledger.open -> layers -> routing -> backend.stream -> order check ->
ledger.close. Owns three rules: nothing else calls a backend; every request ends exactly once, with
a closed ledger row, whatever happens in between; layers wrap the path with the path's own
signature, and what they attempt is recorded and charged under the same answer. Knows no HTTP, no
keys, no engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from typing import TypeVar

from renga import caching, conversation, thinking
from renga.auto.choosing import Auto
from renga.backends.base import Attempt, Backend
from renga.caller import Caller
from renga.chat.signing import Signer
from renga.diagnostics import Comparisons
from renga.errors import ApiError, RengaError
from renga.events import Event, Order
from renga.ids import Ids
from renga.layers.base import Layer, Ways
from renga.layers.compaction import check_signed
from renga.ledger import Ledger, Operation, Status
from renga.limits import Limits, Reservation, Unlimited
from renga.media.walking import counted
from renga.prices import NO_TOKENS, Price, dollars
from renga.routing import AUTO, Route, Router
from renga.toolkit.expansion import expanded
from renga.tries import Plan, Room, Tries
from renga.types import MessagesRequest, Prompt, ScoreRequest, Scores, TokenCount, Usage
from renga.watching.watch import Watch

IN_LOOP = 1_000  # blocks of a request, up to which its rules take less than a step of a model
Clock = Callable[[], float]
Beside = Callable[[Status, BaseException | None], Operation | None]
"""Told how an answer ended and what was raised: a row to be written with its closing, or None."""
Asked = TypeVar("Asked", bound=Prompt)


class Gateway:
    """The path over its parts. `layers` are read top to bottom: the first is the outermost.

    Without a `signer`, what is signed here is understood only here.
    """

    def __init__(  # noqa: PLR0913  the parts of the path
        self,
        *,
        router: Router,
        ledger: Ledger,
        prices: Mapping[str, Price],
        clock: Clock,
        ids: Ids,
        signer: Signer | None = None,
        limits: Limits | Unlimited | None = None,
        layers: Sequence[Layer] = (),
        tries: Tries | None = None,
        watch: Watch | None = None,
        auto: Auto | None = None,
    ) -> None:
        self._router = router
        self._auto = auto
        self._ledger = ledger
        self._prices = prices
        self._clock = clock
        self._ids = ids
        self._signer = signer or Signer.temporary()
        self._watch = watch or Watch()
        self._limits = limits or Unlimited()
        self._tries = tries or Tries()
        self._comparisons = Comparisons()
        self._ways = Ways(self._attempt, self._count, self._window, self._score)
        for layer in reversed(layers):
            self._ways = layer(self._ways)

    async def stream(
        self, request: MessagesRequest, caller: Caller, *, beside: Beside | None = None
    ) -> AsyncIterator[Event]:
        """The answer's events. Raises RengaError; closing it early cancels the work.

        `beside` is asked, when the answer's row closes, what is to be written with it.
        """
        request = self._chosen(request, caller)
        read = await self._understood(request)
        async with self._reserved(request, caller) as reservation:
            with self._answering(request, caller, reservation, beside) as closing:
                answer = self._ways.stream(read, closing.caller)
                answer = thinking.signed(answer, request, self._signer, caller.receipt.model)
                order = Order()
                async with aclosing(answer) as events:  # type: ignore[type-var]
                    async for event in events:
                        order.see(event)
                        named = self._name(event, read, caller)
                        closing.see(named)
                        yield named
                order.end()

    async def score(self, request: ScoreRequest, caller: Caller) -> Scores:
        """The likelihoods of some continuations. Raises RengaError; cancel it to end the work.

        There is no answer that layers could look at; they put in what its images and documents
        name.
        """
        request = self._chosen(request, caller)
        read = await self._understood(request)
        async with self._reserved(request, caller) as reservation:
            with self._answering(request, caller, reservation) as closing:
                return await self._ways.score(read, closing.caller)

    async def count_tokens(self, request: Prompt, caller: Caller) -> TokenCount:
        """Size of the prompt in the tokens of the backend that would serve it."""
        request = self._chosen(request, caller)
        return await self._ways.count(await self._understood(request), caller)

    def _chosen(self, request: Asked, caller: Caller) -> Asked:
        """`request` with the tier that is chosen for it, where it leaves that open."""
        if request.model != AUTO or self._auto is None:
            return request
        choice = self._auto.choose(request, caller.workspace)
        caller.receipt.notes[AUTO] = choice.note()
        return request.model_copy(update={"model": choice.tier})

    async def _understood(self, request: Asked) -> Asked:
        """`_read`, beside the event loop where the request is long."""
        if sum(len(message.content) for message in request.messages) <= IN_LOOP:
            return self._read(request)
        return await asyncio.to_thread(self._read, request)

    def _read(self, request: Asked) -> Asked:
        """What can be read of `request`: only what is ours of what came back, all of it plain.

        Raises InvalidRequest where `request` breaks a rule that holds for every backend.
        """
        conversation.check(request)
        caching.check(request)
        model = self._router.canonical(request.model)
        check_signed(request, self._signer)
        return expanded(thinking.opened(request, self._signer, model))

    async def _count(self, prompt: Prompt, caller: Caller) -> TokenCount:
        """Innermost: asked of the backend that would serve `prompt`."""
        route = self._router.route(prompt)
        _note(caller, route, prompt)
        count = TokenCount(input_tokens=await _counted(route.candidates, prompt))
        caller.receipt.estimated = route.candidates[0].capabilities.counts == "estimated"
        return count

    def _window(self, prompt: Prompt) -> int:
        """Innermost: the window of the backend that would serve `prompt`, in tokens."""
        return self._router.route(prompt).candidates[0].capabilities.window

    async def _attempt(self, request: MessagesRequest, caller: Caller) -> AsyncIterator[Event]:
        """Innermost: tries on the backends that can serve `request`, until one gives an answer.

        What a try brings is not shown before its content begins; then no other follows it.
        """
        route, plan = self._planned(request, caller)
        async for one in plan:
            with one, self._attempting(request, caller, route, one.backend) as (attempt, closing):
                answer = one.events(one.backend.stream(request, attempt), attempt)
                async with aclosing(answer) as events:  # type: ignore[type-var]
                    async for event in events:
                        closing.see(event)
                        yield event
                return

    async def _score(self, request: ScoreRequest, caller: Caller) -> Scores:
        """Innermost: asked of the backends that can serve `request`, until one answers."""
        route, plan = self._planned(request, caller)
        async for one in plan:
            with one, self._attempting(request, caller, route, one.backend) as (attempt, _):
                scores = await one.backend.score(request, attempt)
                usage = Usage(input_tokens=attempt.input or 0, output_tokens=0)
                return Scores(model=caller.receipt.model, scores=scores, usage=usage)
        raise AssertionError("a plan without a try ends by raising")

    def _planned(self, request: Prompt, caller: Caller) -> tuple[Route, Plan]:
        route = self._router.route(request)
        room = Room(request, alone=len(route.candidates) == 1)
        return route, self._tries.plan(route.candidates, room, caller)

    def _reserved(self, request: Prompt, caller: Caller) -> Reservation:
        """What `request` needs of the limits that hold for it; entering it may refuse."""
        route = self._router.route(request)
        caller.receipt.tier = route.tier
        return self._limits.reserved(caller, route.tier, request, self._prices[route.served_tier])

    @contextmanager
    def _answering(
        self,
        request: Prompt,
        caller: Caller,
        reservation: Reservation,
        beside: Beside | None = None,
    ) -> Iterator[_Closing]:
        """The row of an answer, open from here to the end of the block, however that comes."""
        self._open(request, caller, self._router.route(request))
        with self._watch.answering(caller) as caller:
            closing = _Closing(self._clock, caller)
            try:
                yield closing
                closing.status = "ok"
            except BaseException as error:
                closing.failed(error)
                refused = isinstance(error, RengaError) and error.status < 500
                if refused and not caller.receipt.attempts:
                    closing.status = "refused"  # by a layer, before any backend was asked
                raise
            finally:
                cost = self._close(caller, closing, beside)
                reservation.settle(caller.receipt.tokens, cost)
                self._watch.answered(caller, request, closing, cost)

    @contextmanager
    def _attempting(
        self, request: Prompt, caller: Caller, route: Route, backend: Backend
    ) -> Iterator[tuple[Attempt, _Closing]]:
        """The row of one try on `backend`, open likewise."""
        receipt = caller.receipt
        receipt.attempts += 1
        _note(caller, route, request, backend)
        receipt.ignored = backend.capabilities.ignored_in(request)
        attempt = Attempt(caller.request_id, caller.workspace, receipt.attempts, caller.service)
        attempt.item = caller.item
        self._ledger.open_attempt(
            request_id=caller.request_id,
            number=attempt.number,
            backend=backend.name,
            layer=caller.layer,
        )
        closing = _Closing(self._clock, caller)
        watched = self._watch.attempt(caller, backend.name, request)
        attempt.trace = watched.trace
        try:
            yield attempt, closing
            closing.status = "ok"
        except BaseException as error:
            closing.failed(error)
            raise
        finally:
            tokens = attempt.tokens()
            receipt.charge(tokens, closing.status)
            if attempt.estimated:
                receipt.notes["tokens"] = "estimated"
            self._ledger.close_attempt(
                caller.request_id,
                attempt.number,
                status=closing.status,
                tokens=tokens,
                error=closing.error,
                cause=closing.cause,
                first_token_at=closing.first_token_at,
                own_cost_pico=self._watch.attempted(watched, tokens, closing),
            )

    def _open(self, request: Prompt, caller: Caller, route: Route) -> None:
        _note(caller, route, request)
        self._ledger.open_answer(
            request_id=caller.request_id,
            workspace=caller.workspace,
            key_id=caller.key_id,
            tier=route.tier,
            model_requested=AUTO if AUTO in caller.receipt.notes else request.model,
            model=route.model,
            backend=None,
            service=caller.service,
            price=self._prices[route.served_tier],
            received_at=self._clock(),
        )

    def _close(self, caller: Caller, closing: _Closing, beside: Beside | None) -> int | None:
        receipt = caller.receipt
        if caller.service == "batch" and closing.status != "ok":
            # Of a batch only what succeeded is charged: what did not is done again, or has no use.
            receipt.tokens = NO_TOKENS
        cost = self._ledger.close_answer(
            caller.request_id,
            status=closing.status,
            stop_reason=closing.stop_reason,
            tokens=receipt.tokens,
            backend=receipt.backend,
            served_tier=receipt.served_tier,
            error_type=closing.error_type,
            first_token_at=closing.first_token_at,
            notes=receipt.notes,
            beside=None if beside is None else beside(closing.status, closing.raised),
        )
        receipt.cost_usd = None if cost is None else dollars(cost)
        receipt.ended, receipt.cause = closing.status, closing.cause or closing.error_type
        return cost

    def _name(self, event: Event, request: MessagesRequest, caller: Caller) -> Event:
        """Our id, the tier's canonical name and the diagnostics on the message, whoever made it."""
        if event.type != "message_start":
            return event
        id_, receipt = self._ids("msg"), caller.receipt
        diagnostics = self._comparisons.judge(
            request,
            workspace=caller.workspace,
            served_by=receipt.backend,
            message=id_,
            usage=event.message.usage,
        )
        changes: dict[str, object] = {"id": id_, "model": receipt.model, "diagnostics": diagnostics}
        if caller.service == "batch":
            usage = event.message.usage
            changes["usage"] = usage.model_copy(update={"service_tier": "batch"})
        return event.model_copy(update={"message": event.message.model_copy(update=changes)})


class _Closing:
    """How a stream ended, for the ledger. What nobody finished was left: cancelled."""

    def __init__(self, clock: Clock, caller: Caller) -> None:
        self._clock = clock
        self.caller = caller
        self.begun = clock()
        self.status: Status = "cancelled"
        self.stop_reason: str | None = None
        self.error: str | None = None
        self.cause: str | None = None
        self.error_type: str | None = None
        self.first_token_at: float | None = None
        self.raised: BaseException | None = None

    @property
    def elapsed(self) -> float:
        return self._clock() - self.begun

    def see(self, event: Event) -> None:
        if event.type == "content_block_delta" and self.first_token_at is None:
            self.first_token_at = self._clock()
        elif event.type == "message_delta":
            self.stop_reason = event.delta.stop_reason

    def failed(self, error: BaseException) -> None:
        """Record `error`. A consumer that left is no error: the status stays cancelled."""
        self.raised = error
        if isinstance(error, RengaError):
            self.status, self.error, self.error_type = "error", error.message, error.type
            self.cause = error.cause
        elif isinstance(error, Exception):
            self.status, self.error, self.error_type = "error", repr(error), ApiError.type


async def _counted(candidates: Sequence[Backend], prompt: Prompt) -> int:
    """Tokens of `prompt` by the first of them that can tell. Raises what the last one did."""
    *others, last = candidates
    for backend in others:
        try:
            return await backend.count_tokens(prompt)
        except RengaError as error:
            if error.status < 500:
                raise
    return await last.count_tokens(prompt)


def _note(caller: Caller, route: Route, prompt: Prompt, backend: Backend | None = None) -> None:
    """What is known of the answer to `prompt` before its first event; by the first backend."""
    receipt, backend = caller.receipt, backend or route.candidates[0]
    receipt.tier, receipt.served_tier = route.tier, route.tier_of(backend)
    receipt.model, receipt.backend = route.model, backend.name
    if backend.capabilities.transcribes:
        receipt.transcribed = counted(prompt)

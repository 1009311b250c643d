"""Every constructor call there is. What the house is made of, and in what order, stands here and nowhere else."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gevent

from demo import Demo
from parlance import ids
from parlance.booking import Booking
from parlance.budgets import Budgets
from parlance.claude import models as claude_models
from parlance.claude.client import Client, in_process
from parlance.claude.loop import Claude
from parlance.claude.models import Catalogue
from parlance.claude.retry import Policy
from parlance.conversations import Conversations
from parlance.endings import Endings
from parlance.errors import ParlanceError
from parlance.journal import Journal
from parlance.knowledge.library import Shelf
from parlance.knowledge.unanswered import UnansweredQuestions
from parlance.ledger import Ledger
from parlance.limits import Limits
from parlance.observe.metrics import Metrics
from parlance.questions import Questions
from parlance.runner import Runner
from parlance.settings import Settings
from parlance.sites.library import Library
from parlance.sites.rules import Rules
from parlance.store import embedded
from parlance.store.client import Store
from parlance.store.mailbox import Mailbox
from parlance.store.secretkey import secret_key
from parlance.toolbox import Toolbox
from parlance.tools.inbox import Inbox
from parlance.turns import Turns
from parlance.visitors import Visitors
from parlance.voice import lint
from parlance.web.outbound import Outbound

DEMO_KEY = "demo"
DRAIN_LOOK_S = 0.1


class NoStore(ParlanceError):
    """No Redis is named, and no embedded one runs on the data folder."""


@dataclass(frozen=True, slots=True)
class Services:
    """What the doors may call."""

    settings: Settings
    store: Store
    sites: Library
    visitors: Visitors
    conversations: Conversations
    limits: Limits
    journal: Journal
    ledger: Ledger
    budgets: Budgets
    questions: Questions
    shelf: Shelf
    unanswered: UnansweredQuestions
    leads: Inbox
    wishes: Inbox
    runner: Runner
    turns: Turns
    models: Catalogue
    metrics: Metrics
    mailbox: Mailbox
    client: Client

    def start(self, alive: Callable[[], bool]) -> None:
        """Begin what runs beside the requests; when `alive` says no, running answers are drained."""
        for part in (self.mailbox, self.sites, self.journal, self.ledger, self.runner):
            part.start()
        gevent.spawn(self._drain_when_told, alive)

    def _drain_when_told(self, alive: Callable[[], bool]) -> None:
        while alive():
            gevent.sleep(DRAIN_LOOK_S)
        self.runner.drain(self.settings.grace_s)

    def stop(self) -> None:
        """End it all, what is still running first. Returns within the grace time."""
        self.runner.drain(self.settings.grace_s)
        for part in (self.runner, self.ledger, self.journal, self.sites, self.mailbox):
            part.stop()
        self.client.close()

    def checks(self) -> dict[str, str | None]:
        """What is wrong, by the name of the check, besides the store: for /readyz."""
        unpriced = self.models.unpriced(time.time())
        return {"prices": f"no price today for {', '.join(unpriced)}: see claude/models.toml" if unpriced else None}


def build(
    settings: Settings, store: Store | None = None, upstream: Any = None, policy: Policy | None = None
) -> Services:
    """The house. `upstream`, a WSGI app, replaces the network to Claude; so does the demo where no key is set.

    Nothing is connected and nothing runs yet. Raises NoStore, UnknownPrice.
    """
    worker = ids.worker()
    metrics = Metrics()
    models = claude_models.load()
    store = store or Store(_redis_url(settings))
    sites = Library(store, _rules(models))
    conversations, limits = Conversations(store), Limits(store)
    mailbox = Mailbox(store, worker)
    journal = Journal(store, mailbox, metrics.journal_lag)
    budgets = Budgets(store, metrics.budget_refused)
    shelf, unanswered = Shelf(), UnansweredQuestions(store)
    toolbox = Toolbox(store, journal, shelf, Outbound(settings.private_tool_hosts), _secret)
    questions = Questions(conversations, models, toolbox)
    runner = Runner(store, mailbox, journal, sites.keys, free_holds=budgets.free)
    ledger = Ledger(store, settings.data_dir / "ledger", worker, metrics.ledger_pending)
    client = _client(settings, upstream)
    turns = Turns(
        store=store,
        sites=sites,
        conversations=conversations,
        limits=limits,
        journal=journal,
        runner=runner,
        questions=questions,
        toolbox=toolbox,
        unanswered=unanswered,
        claude=Claude(client, policy),
        booking=Booking(journal, ledger, models, metrics, worker, time.time),
        endings=Endings(store, journal, metrics, shelf, unanswered),
        budgets=budgets,
        metrics=metrics,
        deadline_s=settings.answer_deadline_s,
    )
    visitors = Visitors(store, secret_key(settings), _secret, settings.session_days)
    return Services(
        settings=settings,
        store=store,
        sites=sites,
        visitors=visitors,
        conversations=conversations,
        limits=limits,
        journal=journal,
        ledger=ledger,
        budgets=budgets,
        questions=questions,
        shelf=shelf,
        unanswered=unanswered,
        leads=toolbox.leads,
        wishes=toolbox.wishes,
        runner=runner,
        turns=turns,
        models=models,
        metrics=metrics,
        mailbox=mailbox,
        client=client,
    )


def _redis_url(settings: Settings) -> str:
    url = settings.redis_url or embedded.address(settings.data_dir)
    if not url:
        raise NoStore(
            f"No store: REDIS_URL is not set, and none runs on {settings.data_dir}. "
            "Start one with `make run`, or set REDIS_URL."
        )
    return url


def _client(settings: Settings, upstream: Any) -> Client:
    app = upstream or (Demo(remember=0) if settings.demo else None)
    return Client(
        settings.anthropic_api_key or "demo",
        "http://demo.invalid" if app else settings.anthropic_base_url,
        stall_s=settings.upstream_stall_s,
        transport=in_process(app) if app else None,
    )


def _rules(models: Catalogue) -> Rules:
    def most(name: str) -> int | None:
        return models.find(name).max_output if models.knows(name) else None

    return Rules(models=most, volatile=lint.refusal, warnings=lint.warnings)


def _secret(reference: str) -> str | None:
    """The value of a `${secret:NAME}`: today from the environment."""
    return os.environ.get(reference.removeprefix("${secret:").removesuffix("}"))

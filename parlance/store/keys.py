"""Every key there is, one function each. A site's keys share the hash tag `{site}`, so that one script may touch
any of them, on a Redis Cluster too. Example, type and lifetime stand with each."""

from __future__ import annotations


def sites() -> str:
    """`parlance:sites` - set of site keys; for ever."""
    return "parlance:sites"


def site(key: str) -> str:
    """`parlance:{fern}:site` - hash `version`, `json` (the whole site as stored); for ever."""
    return f"parlance:{{{key}}}:site"


def site_versions(key: str) -> str:
    """`parlance:{fern}:site:versions` - hash version -> JSON {at, message, json}; for ever."""
    return f"parlance:{{{key}}}:site:versions"


def visitor(site: str, visitor: str) -> str:
    """`parlance:{fern}:visitor:v_1` - hash `created`, `valid_from` (ms: older tokens are revoked), `conversation`
    (the current one), `locale`, `subject`, `name`, `email`; as long as the site retains, from the last visit."""
    return f"parlance:{{{site}}}:visitor:{visitor}"


def visitor_conversations(site: str, visitor: str) -> str:
    """`parlance:{fern}:visitor:v_1:conversations` - list of conversation ids, oldest first; like the visitor."""
    return f"parlance:{{{site}}}:visitor:{visitor}:conversations"


def visitor_asked(site: str, visitor: str) -> str:
    """`parlance:{fern}:visitor:v_1:asked` - hash message id -> turn id, what makes a retry join; like the visitor."""
    return f"parlance:{{{site}}}:visitor:{visitor}:asked"


def visitor_turns(site: str, visitor: str) -> str:
    """`parlance:{fern}:visitor:v_1:turns` - list of turn ids, so that an erasure finds them; like the visitor."""
    return f"parlance:{{{site}}}:visitor:{visitor}:turns"


def identity(site: str, subject_hash: str) -> str:
    """`parlance:{fern}:identity:9f8e..` - string, the visitor whom the owner's JWT names; like the visitor."""
    return f"parlance:{{{site}}}:identity:{subject_hash}"


def conversation(site: str, conversation: str) -> str:
    """`parlance:{fern}:conversation:c_1` - hash `visitor`, `created`, `turn` (running, or ""), `answered_by`,
    `window` (how many of its messages are not remembered any more);
    as long as the site retains, from the last message."""
    return f"parlance:{{{site}}}:conversation:{conversation}"


def messages(site: str, conversation: str) -> str:
    """`parlance:{fern}:conversation:c_1:messages` - hash message id -> JSON; like the conversation."""
    return f"parlance:{{{site}}}:conversation:{conversation}:messages"


def message_order(site: str, conversation: str) -> str:
    """`parlance:{fern}:conversation:c_1:order` - list of message ids as they came; like the conversation."""
    return f"parlance:{{{site}}}:conversation:{conversation}:order"


def feedback(site: str, conversation: str) -> str:
    """`parlance:{fern}:conversation:c_1:feedback` - hash message id -> JSON {rating, reason}; like the conversation."""
    return f"parlance:{{{site}}}:conversation:{conversation}:feedback"


def turn(site: str, turn: str) -> str:
    """`parlance:{fern}:turn:t_1` - hash, everything a stranger needs to answer it (see turns.Turn); a day."""
    return f"parlance:{{{site}}}:turn:{turn}"


def events(site: str, turn: str) -> str:
    """`parlance:{fern}:turn:t_1:events` - stream `<epoch>-<n>` -> `f`, the SSE frame without its id; an hour while it
    runs, a quarter of an hour after its end."""
    return f"parlance:{{{site}}}:turn:{turn}:events"


def watched(site: str, turn: str) -> str:
    """`parlance:{fern}:turn:t_1:watched` - string, somebody follows from another worker; 15 s."""
    return f"parlance:{{{site}}}:turn:{turn}:watched"


def leases(site: str) -> str:
    """`parlance:{fern}:leases` - sorted set of running turns by the time (ms) at which their lease lapses; also what
    the limit of concurrent answers counts; for ever."""
    return f"parlance:{{{site}}}:leases"


def rate(site: str, limit: str, who: str) -> str:
    """`parlance:{fern}:rate:visitor_minute:v_1` - string, GCRA's theoretical arrival time (us); until then."""
    return f"parlance:{{{site}}}:rate:{limit}:{who}"


def ledger(site: str, day: str) -> str:
    """`parlance:{fern}:ledger:2026-11-20` - hash call id -> row as JSON; for ever."""
    return f"parlance:{{{site}}}:ledger:{day}"


def ledger_days(site: str) -> str:
    """`parlance:{fern}:ledger:days` - set of the days that have rows; for ever."""
    return f"parlance:{{{site}}}:ledger:days"


def worker_channel(worker: str) -> str:
    """`parlance:worker:w_1` - pub/sub channel: what other workers tell this one (see wire.py)."""
    return f"parlance:worker:{worker}"


def origins() -> str:
    """`parlance:origins` - hash site key -> JSON list of its origins, what a preflight is checked against; for ever."""
    return "parlance:origins"


def leads(site: str) -> str:
    """`parlance:{fern}:leads` - hash `<visitor>:<call>` -> JSON {at, name, email, words, ...}; until the operator
    forgets them (`flask leads forget`) or the visitor is erased."""
    return f"parlance:{{{site}}}:leads"


def wishes(site: str) -> str:
    """`parlance:{fern}:wishes` - hash `<visitor>:<conversation>` -> JSON {at, reason, ...}: who asked for a person;
    until the visitor is erased."""
    return f"parlance:{{{site}}}:wishes"


def unanswered(site: str) -> str:
    """`parlance:{fern}:unanswered` - sorted set of JSON (see knowledge/unanswered.py) by the time (ms) of asking, the
    latest thousand; as long as the site retains, from the last one."""
    return f"parlance:{{{site}}}:unanswered"


def purse(site: str) -> str:
    """`parlance:{fern}:purse` - hash `2026-11-20:spent`, `2026-11-20:held`, the same of `2026-11`: nano-dollars that
    the calls of a day and a month have cost, and that those under way may cost (lua/parts/purse.lua); 400 days."""
    return f"parlance:{{{site}}}:purse"


def visitor_purse(site: str, visitor: str) -> str:
    """`parlance:{fern}:visitor:v_1:purse` - hash `2026-11-20:spent`, `2026-11-20:held`; two days from the last call."""
    return f"parlance:{{{site}}}:visitor:{visitor}:purse"


def holds(site: str) -> str:
    """`parlance:{fern}:holds` - hash call id -> `amount|turn|epoch|day|visitor|until`, the money that calls under way
    may cost, each until its call is booked or its turn is over; 40 days from the last."""
    return f"parlance:{{{site}}}:holds"

"""Why a request to somewhere else came to nothing.

    OutboundError                 `str(error)` is for logs; `told` is for whoever asked, and names no address
    ├─ Refused                    the guard said no: to the address, its form, its port or its scheme
    │   └─ RedirectedElsewhere    the answer leads to another host, or leads on without end
    ├─ Unreachable                no such name, nobody there, or a certificate that is not theirs
    ├─ TooSlow                    not done within its time, all of it counted
    ├─ TooBig                     more than was allowed for
    └─ Garbled                    no HTTP, cut off, or compressed unasked

A caller who wants to try again may do so after Unreachable and TooSlow; the others will be the same next time.
"""

from __future__ import annotations

from parlance.errors import ParlanceError


class OutboundError(ParlanceError):
    """The root. The message names hosts and addresses: it is for logs and operators only."""

    told = "The service could not be asked."


class Refused(OutboundError):
    told = "The request is one that may not be made."


class RedirectedElsewhere(Refused):
    told = "The service sent the request on to somewhere else, which is not followed."


class Unreachable(OutboundError):
    told = "The service could not be reached."


class TooSlow(OutboundError):
    told = "The service did not answer in time."


class TooBig(OutboundError):
    told = "The answer of the service was too big to be used."


class Garbled(OutboundError):
    told = "The answer of the service could not be read."

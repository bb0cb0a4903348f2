"""An *unverified* quote, field by field, for people."""

from __future__ import annotations

from collections.abc import Mapping

from attest.evidence import Evidence
from attest.kinds.tpm.algorithm import name_of
from attest.kinds.tpm.eventlog import EventLog, EventType, parse_event_log, type_name
from attest.kinds.tpm.ima import parse_ima
from attest.kinds.tpm.pcrs import parse_pcrs
from attest.kinds.tpm.public import Public, parse_public
from attest.kinds.tpm.report import parse_quote


def inspect(evidence: Evidence) -> Mapping[str, str]:
    """Field name to readable value, in the order of the bytes; then the other parts. Raises MalformedError."""
    quote = parse_quote(evidence.part("quote"))
    statement = quote.statement
    fields = {
        "qualified signer": statement.qualified_signer.hex(),
        "extra data": statement.extra_data.hex(),
        "clock": f"{statement.clock} ms, {'safe' if statement.safe else 'not safe'}",
        "reset count": f"{statement.reset_count} (obfuscated unless the key is in the endorsement hierarchy)",
        "restart count": str(statement.restart_count),
        "firmware version": f"{statement.firmware:016x}",
        "PCR selection": " + ".join(map(str, quote.selections)),
        "PCR digest": quote.digest.hex(),
    }
    if "ak" in evidence.parts:
        fields |= _key("attestation key", parse_public(evidence.part("ak"), "ak"))
    if "recipient" in evidence.parts:
        fields |= _key("recipient key", parse_public(evidence.part("recipient"), "recipient"))
    if "pcrs" in evidence.parts:
        listed = parse_pcrs(evidence.part("pcrs"))
        places = [(item.bank, pcr) for item in listed.selections for pcr in item.pcrs]
        fields |= {f"PCR {pcr} ({name_of(bank)})": value.hex() for (bank, pcr), value in zip(places, listed.values, strict=False)}
    if "event-log" in evidence.parts:
        fields |= _log(parse_event_log(evidence.part("event-log")))
    if "ima" in evidence.parts:
        fields["IMA entries"] = str(len(parse_ima(evidence.part("ima"))))
    return fields


def _key(title: str, key: Public) -> dict[str, str]:
    return {
        title: f"{key.words}, {name_of(key.scheme)} with {name_of(key.scheme_hash)}",
        f"{title}, name": key.name.hex(),
        f"{title}, attributes": key.attributes.words,
        f"{title}, policy": key.policy.hex() or "none",
    }


def _log(log: EventLog) -> dict[str, str]:
    fields = {"event log": f"{len(log.events)} events, {', '.join(map(name_of, log.algorithms)) or 'empty'}"}
    unknown = [f"{event.where}: {type_name(event.type)}" for event in log.events if event.type not in set(EventType)]
    if unknown:
        fields["events of unknown type"] = "; ".join(unknown[:16])
    return fields

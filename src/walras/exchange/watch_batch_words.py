"""A watchtower for what oracles say of batches: who gave two words over one slot that contradict each other is convicted by them.

Words are heard where they are public: in a run's record and its copies, and in the calldata of every post, of batches that were
taken back too. An honest oracle puts every slot into one word for ever, so it need not be asked why (`ledger.batch_words`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from walras.exchange.batching import COMMITTEE
from walras.exchange.fold import BATCH_POSTED, LEDGER_DEPLOYED
from walras.exchange.journal import Entry
from walras.exchange.opening import opening_from_public
from walras.exchange.statement import opened_terms
from walras.exchange.watch_oracles import Conviction
from walras.ledger import ReadableChain, SigningKey, recover_address
from walras.ledger.abi import artifact, read_event
from walras.ledger.batch_words import BatchWord, DataRoots, SignedWord, common_slot, contradict, slash_batch
from walras.ledger.batches import NAME, root_of_state, word_of_call
from walras.ledger.calls import Contract
from walras.ledger.keys import SIGNATURE_BYTES
from walras.ledger.steps import EMPTY_ROOT


@dataclass(frozen=True, slots=True)
class SwornWord:
    """That `oracle` signed a word on slots of the contract at `batches`."""

    oracle: str
    batches: str
    signed: SignedWord


def words_in_record(record: Sequence[Entry]) -> list[SwornWord]:
    """Every signature under a batch in a public record, whoever made it."""
    deployed = next((entry.public for entry in record if entry.kind == LEDGER_DEPLOYED), {})
    terms = opened_terms(record)[0]
    if "batches" not in deployed or terms.batches is None:
        return []
    opening, found = opening_from_public(deployed), list[SwornWord]()
    before = EMPTY_ROOT if opening is None else root_of_state(opening.words)
    for public in (entry.public for entry in record if entry.kind == BATCH_POSTED):
        facts, steps, state = (bytes.fromhex(public[name]) for name in ("facts_root", "steps_root", "state_root"))
        data = DataRoots(before, steps, state) if terms.batches.publish == COMMITTEE else None
        word = BatchWord(public["first"], public["last"] - public["first"] + 1, facts, data)
        found += _sworn((deployed["chain_id"], deployed["batches"]), word, bytes.fromhex(public["signatures"]))
        before = state
    return found


def words_on_chain(chain: ReadableChain, batches: str) -> list[SwornWord]:
    """The same from the calldata of every batch ever posted."""
    code, found = artifact(NAME), list[SwornWord]()
    topic = next(t for t, event in code.events.items() if event.name == "BatchPosted")
    posts = {code.functions[function].hash[:4] for function in ("post", "postRoots")}
    state_after: dict[int, bytes] = {}
    for one in chain.logs(batches, topic):
        event = read_event(NAME, one.log.topics, one.log.data)
        assert event is not None
        index = int(event[1]["index"])
        data, before = chain.calldata(one.transaction_hash), state_after.get(index - 1, EMPTY_ROOT)
        state_after[index] = bytes(event[1]["stateRoot"])
        if data[:4] in posts:
            found += _sworn((chain.chain_id, batches), *word_of_call(data, before))
    return found


def _sworn(at: tuple[int, str], word: BatchWord, joined: bytes) -> list[SwornWord]:
    digest = word.digest(*at)
    parts = [joined[i : i + SIGNATURE_BYTES] for i in range(0, len(joined), SIGNATURE_BYTES)]
    return [SwornWord(recover_address(digest, part), at[1], SignedWord(word, part)) for part in parts]


def contradicting_words(sworn: Iterable[SwornWord]) -> list[tuple[SwornWord, SwornWord]]:
    """Two words of one oracle to one contract that contradict each other: one such pair of each oracle."""
    heard: dict[tuple[str, str], list[SwornWord]] = {}
    for one in sworn:
        heard.setdefault((one.oracle, one.batches), []).append(one)
    found: dict[str, tuple[SwornWord, SwornWord]] = {}
    for (oracle, _), words in heard.items():
        pair = _contradiction(words)
        if pair is not None:
            found.setdefault(oracle, pair)
    return list(found.values())


def _contradiction(words: Sequence[SwornWord]) -> tuple[SwornWord, SwornWord] | None:
    """In order of the first slot it is enough to look at the word that reaches furthest: what overlaps an earlier one overlaps it,
    and what overlaps it and does not contradict it has its slots and facts."""
    furthest: SwornWord | None = None
    on_top: dict[tuple[BatchWord, bytes], SwornWord] = {}
    for one in sorted(words, key=lambda s: s.signed.word.first_slot):
        word = one.signed.word
        same = one
        if word.data is not None:
            same = on_top.setdefault((BatchWord(word.first_slot, word.slots, word.facts_root), word.data.before), one)
        for other in (furthest, same):
            if other is not None and contradict(other.signed.word, word):
                return other, one
        if furthest is None or word.first_slot + word.slots > furthest.signed.word.first_slot + furthest.signed.word.slots:
            furthest = one
    return None


def said_twice(pair: tuple[SwornWord, SwornWord]) -> str:
    """What an oracle did that gave this pair."""
    return f"signed two batches over slot {common_slot(pair[0].signed.word, pair[1].signed.word)}"


def convict_words(
    chain: ReadableChain, bond: Contract, key: SigningKey, pairs: Sequence[tuple[SwornWord, SwornWord]], now: int
) -> list[Conviction]:
    """Hand in every pair whose oracle still has a stake in `bond`; who has none is named all the same."""
    done = []
    for one, other in pairs:
        amount, _, convicted = bond.view(chain, "bondOf", one.oracle)
        if convicted:
            continue  # somebody was faster
        receipt = slash_batch(chain, bond, key, one.batches, one.signed, other.signed, timestamp=now) if amount else None
        done.append(Conviction(one.oracle, said_twice((one, other)), None if receipt is None else receipt.transaction_hash))
    return done

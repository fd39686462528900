"""What a node's silence or refusal means, in words: every failure on the way to a node becomes one LedgerError with the way out.

The libraries on the way (sockets, HTTP, JSON, web3) each say it in their own manner; here it is said once, by what is the matter:
the address is none, nobody is there, somebody else is there, the node refuses, or the contract does.
"""

from __future__ import annotations

from collections.abc import Iterator
from json import JSONDecodeError
from socket import gaierror

from requests.exceptions import ConnectionError as NotConnected
from requests.exceptions import HTTPError, RequestException, Timeout
from urllib3.exceptions import NameResolutionError
from web3.exceptions import BadResponseFormat, Web3Exception

from walras.errors import Fault, InputError, LedgerError
from walras.ledger.abi import Revert, read_revert

SCHEMES = ("http://", "https://")
FOREIGN = (Web3Exception, RequestException, JSONDecodeError, OSError)
"""All that a question to a node may raise."""

_RECOGNISED = "give the same command again: what was sent before is recognised, nothing is done twice"
_WAYS_OUT = (
    ("nonce too low", "the sender's nonce was used by another transaction: build a new one from `chain.nonce(address)`"),
    ("nonce is too", "the nonce is not the sender's next: build a new transaction from `chain.nonce(address)`"),
    (
        "replacement transaction underpriced",
        "another transaction with this nonce waits: send that one again, or raise both fees by a tenth",
    ),
    ("insufficient funds", "send the sender native coins for gas"),
    ("max fee per gas", "gas costs more than the transaction may pay now: raise max_fee_per_gas or wait"),
    ("underpriced", "the node asks for a higher fee: raise max_priority_fee_per_gas"),
    ("gas limit", "the transaction asks for more gas than a block, or a transaction, may use here"),
    ("chain id", "the transaction was signed for another chain: check the chain id"),
    ("missing trie node", "the node keeps recent states only: ask an archive node"),
    ("historical state", "the node keeps recent states only: ask an archive node"),
)


def check_address(url: str) -> None:
    """InputError where `url` is no address that a node can have."""
    if not url.startswith(SCHEMES) or url in SCHEMES:
        expected = "http://HOST:PORT or https://HOST of a JSON-RPC node, such as http://127.0.0.1:8545"
        raise InputError("chain", [Fault("command line", "--chain", url, expected)])


def no_evm(url: str, why: str) -> LedgerError:
    """The error where something answers that is not an EVM node."""
    return LedgerError(
        f"{url} answers, but not as an EVM node: {why}",
        thing=url,
        way_out="give the address of an EVM node's JSON-RPC over HTTP: its port, and its path if it has one",
    )


def refusal_in(cause: Exception) -> Revert | None:
    """The revert data that web3 found in a node's error, decoded; None where the error is of another kind."""
    data = getattr(cause, "data", None)
    if isinstance(data, str) and data.startswith("0x"):
        return read_revert(bytes.fromhex(data[2:]))
    return None


def node_error(url: str, what: str, cause: Exception) -> LedgerError:
    """The error of `what` (a question, or a transaction by its hash) that failed by `cause`."""
    refusal = refusal_in(cause)
    if refusal is not None:
        return LedgerError(f"{what}: the contract refused: {refusal}", thing=refusal)
    if isinstance(cause, HTTPError) and cause.response is not None:
        return no_evm(url, f"HTTP {cause.response.status_code} {cause.response.reason}")
    if isinstance(cause, (JSONDecodeError, BadResponseFormat)):
        return no_evm(url, "what it says is no JSON-RPC")
    if not isinstance(cause, Web3Exception):
        way_out = f"start the node or check its address, then {_RECOGNISED}"
        return LedgerError(f"{what}: the node at {url} cannot be reached: {_silence(cause)}", thing=url, way_out=way_out)
    if "method not found" in str(cause).lower() or "-32601" in str(cause):
        return no_evm(url, f"it has no method for this ({what})")
    text = str(cause).lower()
    way_out = next((hint for sign, hint in _WAYS_OUT if sign in text), "see the node's own message")
    return LedgerError(f"{what}: the node refused: {_message(cause)}", thing=url, way_out=way_out)


def _silence(cause: Exception) -> str:
    """Why nobody answered, in a few words."""
    if isinstance(cause, Timeout):
        return "no answer in time"
    for link in _links(cause):
        if isinstance(link, (gaierror, NameResolutionError)):
            return "no such host"
        if isinstance(link, ConnectionRefusedError) or "Connection refused" in str(link):
            return "nobody listens there (connection refused)"
        if isinstance(link, ConnectionResetError) or "aborted" in str(link):
            return "it broke the connection off"
    return "the connection failed" if isinstance(cause, NotConnected) else str(cause)


def _links(cause: BaseException | None) -> Iterator[BaseException]:
    """The error with all that led to it, however the libraries wrapped it."""
    while cause is not None:
        yield cause
        inner = [part for part in (getattr(cause, "reason", None), *cause.args) if isinstance(part, BaseException)]
        cause = inner[0] if inner else cause.__cause__ or cause.__context__


def _message(cause: Exception) -> str:
    """The node's own words, without the envelope they came in."""
    said = getattr(cause, "rpc_response", None)
    error = said.get("error") if isinstance(said, dict) else None
    return str(error.get("message", error)) if isinstance(error, dict) else str(cause)

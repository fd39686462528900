"""Each kind of chain by its profile, on a node that behaves like it: what is waited for, what is paid, what is not signed."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import pytest

from e2e.runs import EXAMPLES
from e2e.test_run_on_a_manifest import by_the_hour, fund
from ledger_world import anvil, rpc
from walras.commands.deploy import deploy_command
from walras.community import load_community
from walras.errors import LedgerError
from walras.ledger import JsonRpcChain, read_transaction
from walras.ledger.profiles import PROFILES
from walras.study.meters import run_seed
from walras.study.runner import Options, Run, ledger_keys

GWEI = 10**9


@contextmanager
def moving(url: str, blocks: int) -> Iterator[None]:
    """The chain of a node goes on by itself, so many blocks at a time."""
    stop = threading.Event()

    def go_on() -> None:
        while not stop.wait(0.05):
            rpc(url, "anvil_mine", hex(blocks))

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def height(url: str) -> int:
    return int(rpc(url, "eth_blockNumber"), 16)


def offered(manifest: Path) -> set[int]:
    """Wei a unit of gas that the manifest's transactions offer at most."""
    content = json.loads(manifest.read_text())
    return {read_transaction(bytes.fromhex(step["raw"])).transaction.fees.max_fee_per_gas for step in content["transactions"]}


@pytest.mark.parametrize(("profile", "base_gwei"), [("l2", 1), ("mainnet", 30)])
def test_where_gas_costs_a_deployment_waits_for_finality_and_a_run_for_each_receipt(
    profile: str, base_gwei: int, tmp_path: Path
) -> None:
    file, manifest = by_the_hour(tmp_path), tmp_path / "ledger.json"
    keys, kind = ledger_keys(run_seed(load_community(file))), PROFILES[profile]
    with anvil(options=("--base-fee", str(base_gwei * GWEI))) as url:
        fund(url, keys.admin.address, keys.operator.address)
        with moving(url, kind.finality_blocks // 16 + 1):
            deploy_command(file, url, manifest, profile, None)
            assert height(url) >= 8 * (1 + kind.confirmations) + kind.finality_blocks
            suggested = max(offered(manifest))
            assert 0 < suggested <= kind.cap_gwei * GWEI
            for _ in islice(Run(file, tmp_path / "run", Options(chain_url=url, manifest=manifest)), 1):
                pass
        rpc(url, "anvil_setNextBlockBaseFeePerGas", hex(1_000 * kind.cap_gwei * GWEI))
        rpc(url, "evm_mine")
        nonce = JsonRpcChain(url).nonce(keys.operator.address)
        with pytest.raises(LedgerError, match=rf"more than the {kind.cap_gwei} of profile {profile}(.|\n)*nothing was signed"):
            for _ in islice(Run(file, tmp_path / "run", Options(chain_url=url, manifest=manifest)), 2):
                pass
        assert JsonRpcChain(url).nonce(keys.operator.address) == nonce
        rpc(url, "anvil_setNextBlockBaseFeePerGas", hex(base_gwei * GWEI))
        rpc(url, "evm_mine")
        with moving(url, 1):  # the spike is over: the same command goes on
            assert len(list(islice(Run(file, tmp_path / "run", Options(chain_url=url, manifest=manifest)), 2))) == 2


def test_on_a_permissioned_chain_gas_is_free_and_a_block_is_final(tmp_path: Path) -> None:
    manifest = tmp_path / "ledger.json"
    with anvil(options=("--base-fee", "0", "--gas-price", "0")) as url:
        deploy_command(EXAMPLES / "rural1.toml", url, manifest, "permissioned", None)
        assert height(url) == 8
    assert offered(manifest) == {0}

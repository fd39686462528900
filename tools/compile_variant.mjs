// For tests that plant a bug: compile contracts whose text was changed, quickly (no optimizer), and print creation bytecode.
//
//   stdin:  {"sources": {"Settlement.sol": "...changed text..."}, "contracts": ["Settlement"]}
//   stdout: {"Settlement": "0x..."}, or with "abi": true in the order {"Settlement": {"bytecode": "0x...", "abi": [...]}}
//
// Sources not given come from src/walras/ledger/contracts and node_modules.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const solc = createRequire(join(root, "package.json"))("solc");
const { sources, contracts, abi } = JSON.parse(readFileSync(0, "utf8"));

function read(path) {
  const file = path.startsWith("@") ? join(root, "node_modules", path) : join(root, "src/walras/ledger/contracts", path);
  return { contents: sources[path] ?? readFileSync(file, "utf8") };
}

const input = {
  language: "Solidity",
  sources: Object.fromEntries(contracts.map((name) => [`${name}.sol`, { content: read(`${name}.sol`).contents }])),
  settings: {
    optimizer: { enabled: true, runs: 1 },
    evmVersion: "cancun",
    outputSelection: { "*": { "*": ["evm.bytecode.object", "abi"] } },
  },
};
const compile = () => JSON.parse(solc.compile(JSON.stringify(input), { import: read }));
const errorsOf = (made) => (made.errors ?? []).filter((finding) => finding.severity === "error");
let output = compile();
if (errorsOf(output).some((finding) => finding.formattedMessage.includes("Stack too deep"))) {
  input.settings.viaIR = true; // slower, and only where the quick way cannot
  output = compile();
}
const errors = errorsOf(output);
if (errors.length > 0) {
  for (const finding of errors) console.error(finding.formattedMessage);
  process.exit(1);
}
const compiled = contracts.map((name) => {
  const contract = output.contracts[`${name}.sol`][name];
  const bytecode = "0x" + contract.evm.bytecode.object;
  return [name, abi ? { bytecode, abi: contract.abi } : bytecode];
});
console.log(JSON.stringify(Object.fromEntries(compiled)));

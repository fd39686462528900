// Compile src/walras/ledger/contracts/*.sol to src/walras/ledger/artifacts/*.json with the pinned compiler and library.
//
//   node tools/compile_contracts.mjs            write the artifacts
//   node tools/compile_contracts.mjs --check    compile again and fail where a committed artifact differs
//
// An artifact holds what a user needs without Node: ABI, creation bytecode, compiler, settings, and the SHA-256 of every
// source that went in (ours and the library's). The bytecode carries no metadata trailer, so it depends on the code alone.

import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const contracts = join(root, "src/walras/ledger/contracts");
const artifacts = join(root, "src/walras/ledger/artifacts");
const RUNTIME_LIMIT = 24_576; // bytes, EIP-170

const settings = {
  optimizer: { enabled: true, runs: 1_000_000 }, // settle often, deploy once
  viaIR: true,
  evmVersion: "cancun", // transient storage and mcopy; runs on every chain since 2024, and on the embedded EVM
  metadata: { appendCBOR: false, bytecodeHash: "none" },
};

function loadCompiler() {
  try {
    return createRequire(join(root, "package.json"))("solc");
  } catch {
    console.error("The compiler is not installed. Way out: npm ci");
    process.exit(2);
  }
}

function sourceOf(path) {
  const file = path.startsWith("@") ? join(root, "node_modules", path) : join(contracts, path);
  return readFileSync(file, "utf8");
}

function compile(solc, names) {
  const used = new Map();
  const read = (path) => {
    const content = sourceOf(path);
    used.set(path, createHash("sha256").update(content).digest("hex"));
    return content;
  };
  const input = {
    language: "Solidity",
    sources: Object.fromEntries(names.map((name) => [name, { content: read(name) }])),
    settings: {
      ...settings,
      outputSelection: { "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"], "": ["ast"] } },
    },
  };
  const output = JSON.parse(solc.compile(JSON.stringify(input), { import: (path) => ({ contents: read(path) }) }));
  const ours = (finding) => finding.severity === "error" || !finding.sourceLocation?.file?.startsWith("@");
  const findings = (output.errors ?? []).filter((finding) => finding.severity !== "info" && ours(finding));
  if (findings.length > 0) {
    for (const finding of findings) console.error(finding.formattedMessage);
    process.exit(1); // warnings too, in our own sources
  }
  return { output, used };
}

// The sources a file needs, itself included, in alphabetical order: only these are named in its artifact.
function closure(output, name, seen = new Set()) {
  if (seen.has(name)) return seen;
  seen.add(name);
  for (const node of output.sources[name].ast.nodes) {
    if (node.nodeType === "ImportDirective") closure(output, node.absolutePath, seen);
  }
  return seen;
}

function artifactOf(solc, { output, used }, file, name) {
  const contract = output.contracts[file][name];
  const runtimeBytes = contract.evm.deployedBytecode.object.length / 2;
  if (runtimeBytes > RUNTIME_LIMIT) {
    console.error(`${name}: ${runtimeBytes} bytes of runtime code, more than the ${RUNTIME_LIMIT} that EIP-170 allows`);
    process.exit(1);
  }
  const sources = Object.fromEntries([...closure(output, file)].sort().map((path) => [path, used.get(path)]));
  return {
    contract: name,
    compiler: solc.version(),
    settings,
    sources,
    runtimeBytes,
    abi: contract.abi,
    bytecode: "0x" + contract.evm.bytecode.object,
  };
}

const check = process.argv.includes("--check");
const solc = loadCompiler();
const names = readdirSync(contracts).filter((name) => name.endsWith(".sol")).sort();
const result = compile(solc, names);
mkdirSync(artifacts, { recursive: true });
const wanted = new Map();
for (const file of names) {
  for (const name of Object.keys(result.output.contracts[file] ?? {})) {
    const node = result.output.sources[file].ast.nodes.find((one) => one.nodeType === "ContractDefinition" && one.name === name);
    if (node.contractKind !== "contract" || node.abstract) continue; // interfaces and libraries go into what uses them
    wanted.set(`${name}.json`, JSON.stringify(artifactOf(solc, result, file, name), null, 1) + "\n");
  }
}
const present = readdirSync(artifacts).filter((name) => name.endsWith(".json"));
const stale = present.filter((name) => !wanted.has(name));
const differing = [...wanted].filter(([name, text]) => {
  const path = join(artifacts, name);
  return !existsSync(path) || readFileSync(path, "utf8") !== text;
});
if (check) {
  const faults = [...stale.map((name) => `${name}: no source`), ...differing.map(([name]) => `${name}: differs`)];
  for (const fault of faults) console.error(fault);
  if (faults.length > 0) {
    console.error("The committed artifacts are not what the sources give. Way out: node tools/compile_contracts.mjs");
    process.exit(1);
  }
  console.log(`${wanted.size} artifacts are what ${names.length} sources give under ${solc.version()}`);
} else {
  for (const name of stale) rmSync(join(artifacts, name));
  for (const [name, text] of differing) writeFileSync(join(artifacts, name), text);
  console.log(`${differing.length} written, ${stale.length} removed, ${wanted.size} in all`);
}

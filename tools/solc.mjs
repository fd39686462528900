#!/usr/bin/env node
// The pinned compiler under the face of the native one, for programs that want to start a `solc`:
// `--version` answers, anything else compiles the standard JSON on stdin.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const solc = createRequire(join(root, "package.json"))("solc");
if (process.argv.includes("--version")) {
  const version = solc.version().replace(/\.Emscripten.*$/, "");
  console.log(`solc, the solidity compiler commandline interface\nVersion: ${version}.Linux.g++`);
} else {
  const contracts = join(root, "src/walras/ledger/contracts");
  const read = (path) => {
    const file = path.startsWith("@") ? join(root, "node_modules", path) : join(contracts, path);
    return { contents: readFileSync(file, "utf8") };
  };
  console.log(solc.compile(readFileSync(0, "utf8"), { import: read }));
}

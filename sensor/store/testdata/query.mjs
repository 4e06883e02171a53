// Runs the queries that come in, a JSON array of texts, and writes the rows of each.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

const require = createRequire(process.argv[2] + "/");
const { DuckDBInstance } = require("@duckdb/node-api");

const db = await (await DuckDBInstance.create(":memory:")).connect();
await db.run("set timezone = 'UTC'");
const all = [];
for (const query of JSON.parse(readFileSync(0, "utf8"))) {
  all.push((await db.runAndReadAll(query)).getRowsJson());
}
process.stdout.write(JSON.stringify(all));

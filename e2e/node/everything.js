// What node-postgres does with a server. Prints one line per step; its connection comes from PG… variables.
const { Client } = require("pg");

async function main() {
  const client = new Client({ ssl: false });
  client.on("notice", (notice) => console.log("notice", notice.message));
  await client.connect();
  const tell = async (step, work) => {
    try {
      const result = await work();
      console.log(step, JSON.stringify(Array.isArray(result) ? result.map((one) => one.rows) : result.rows));
    } catch (error) {
      console.log(step, error.code, error.message, error.position);
    }
  };
  await tell("simple", () => client.query("select 1 as one, 'zwei' as two, null as three"));
  await tell("several", () => client.query("select 1; select 2, 3; begin; commit"));
  await tell("parameters", () => client.query("select $1::int as a, $2::text as b, $3::jsonb as c", [7, "ü", { d: [1] }]));
  for (let n = 0; n < 3; n++) {
    await tell("named", () => client.query({ name: "named", text: "select $1::int + 1 as next", values: [n] }));
  }
  await tell("array", () => client.query({ text: "select generate_series(1, 5) n", rowMode: "array" }));
  await tell("error", () => client.query("select 1 / $1::int", [0]));
  await tell("syntax", () => client.query("selec 1"));
  await tell("notice", () => client.query("do $$ begin raise notice 'heard'; end $$"));
  await Promise.all([1, 2, 3].map((n) => tell("queued", () => client.query("select $1::int as n", [n]))));
  await client.query("begin");
  await tell("failed", () => client.query("select nope"));
  await tell("aborted", () => client.query("select 1"));
  await client.query("rollback");
  await client.end();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});

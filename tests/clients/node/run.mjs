// What all scripts share: the service and the inputs (JSON on standard input), and the cell (the only argument).
import { readFileSync } from "node:fs";

export const asked = JSON.parse(readFileSync(0, "utf8"));

export async function run(cells) {
  const result = await cells[process.argv[2]]();
  process.stdout.write(JSON.stringify(result));
}

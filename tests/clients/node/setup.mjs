// Where the database is that the suites may fill and empty, and how they wait.

export const url = process.env.BUCKETHEAD_URL;
export const token = process.env.BUCKETHEAD_TOKEN;
export const socketUrl = url.replace(/^http/, "ws");

/** Every type of value that SQLite has, as each client gives it to JavaScript. */
export const values = [null, 1, -1.5, "text with 'quotes', ä, \u{1f600}", new Uint8Array([0, 1, 255])];

export function bytes(value) {
  return [...new Uint8Array(value)];
}

let tables = 0;

/** A name that no other test uses. */
export function table() {
  tables += 1;
  return `t_${process.pid}_${tables}`;
}

/** The error that `work` fails with. */
export async function failure(work) {
  try {
    await work();
  } catch (error) {
    return error;
  }
  throw new Error("it succeeded");
}
